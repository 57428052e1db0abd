// The Hugging Face checkpoint layouts: what their config.json says and what their tensors are called.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

enum class hf_layout : std::uint8_t { qwen3_moe, mixtral, deepseek_v3 };
const char* to_string(hf_layout layout) noexcept;        // "qwen3_moe": config.json's model_type
const char* architecture_of(hf_layout layout) noexcept;  // "Qwen3MoeForCausalLM"

struct hf_model {
  hf_layout layout{};
  gpu::moe_shape shape;                       // expert_type is not in the file: the loader reads it off the tensors
  std::vector<std::uint32_t> decoder_layers;  // number in tensor names of each MoE layer
};

// `max_layers` keeps the first MoE layers only; 0: all. Errors: malformed (a key is missing or of the wrong type; not
// JSON), invalid_argument (a model this program cannot run: the text says which key rules it out).
result<hf_model> read_hf_config(const std::string& text, const std::string& where, std::uint32_t max_layers = 0);

// `slot` as in gpu::expert_layout: gate, up, down; gate_scale, …
std::string expert_tensor(hf_layout layout, std::uint32_t decoder_layer, std::uint32_t expert, const std::string& slot);
// `slot` as in gpu::dense_layout: norm, router, router_bias, shared_gate, shared_up, shared_down.
std::string dense_tensor(hf_layout layout, std::uint32_t decoder_layer, const std::string& slot);

}  // namespace ballast
