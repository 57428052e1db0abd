// The shape of a stack of MoE layers and how its weights lie in memory: the one description that the loader fills, pages
// hold, transports move and kernels read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast::gpu {

enum class dtype : std::uint8_t { f32, bf16, f16, f8_e4m3 };
constexpr std::size_t size_of(dtype t) noexcept { return t == dtype::f32 ? 4 : t == dtype::f8_e4m3 ? 1 : 2; }

enum class scoring : std::uint8_t { softmax, sigmoid };

// norm -> router -> top-k experts (SwiGLU) -> weighted sum in k order -> + shared expert -> + residual, `layers` times.
struct moe_shape {
  std::uint32_t layers = 0;
  std::uint32_t experts = 0;               // logical experts a layer
  std::uint32_t top_k = 0;
  std::uint32_t hidden = 0;
  std::uint32_t intermediate = 0;          // of one expert
  std::uint32_t shared_intermediate = 0;   // of the shared expert; 0: none
  std::uint32_t groups = 1;                // router groups; experts % groups == 0
  std::uint32_t top_groups = 1;            // groups a token may choose from
  scoring score = scoring::softmax;
  bool renormalise = true;                 // the k weights are divided by their sum
  bool router_bias = false;                // added to the score for the choice only (DeepSeek-V3)
  float routed_scale = 1.0f;
  float norm_eps = 1e-6f;
  dtype expert_type = dtype::bf16;
  std::uint32_t scale_block = 128;         // f8_e4m3: one f32 scale per scale_block x scale_block weights
  bool operator==(const moe_shape&) const = default;
};

status check(const moe_shape& shape);  // invalid_argument naming the field and what it must be

// One tensor inside a bundle or a dense layer: [rows][cols], row-major, at `offset` bytes.
struct tensor_slot {
  std::string name;
  dtype type = dtype::f32;
  std::uint32_t rows = 0, cols = 0;
  std::size_t offset = 0, bytes = 0;
};

struct tensor_layout {
  std::vector<tensor_slot> tensors;
  std::size_t bytes = 0;  // rounded up to 64
  const tensor_slot* find(const std::string& name) const;
};

// Every tensor the kernel reads for one expert: gate [I][H], up [I][H], down [H][I], and for f8 gate_scale, up_scale,
// down_scale (f32). A page holds exactly one.
tensor_layout expert_layout(const moe_shape& shape);

// What every rank holds of a layer, all f32: norm [1][H], router [E][H], router_bias [1][E]?, shared_gate, shared_up,
// shared_down?
tensor_layout dense_layout(const moe_shape& shape);

}  // namespace ballast::gpu
