#include "gpu/model_shape.hpp"

#include <fmt/core.h>

#include <cmath>

namespace ballast::gpu {
namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t align_up(std::size_t n) noexcept { return (n + alignment - 1) / alignment * alignment; }
constexpr std::uint32_t blocks(std::uint32_t n, std::uint32_t block) noexcept { return (n + block - 1) / block; }

void add(tensor_layout& layout, std::string name, dtype type, std::uint32_t rows, std::uint32_t cols) {
  const auto bytes = std::size_t{rows} * cols * size_of(type);
  layout.tensors.push_back({std::move(name), type, rows, cols, layout.bytes, bytes});
  layout.bytes = align_up(layout.bytes + bytes);
}

auto refuse(const char* field, const std::string& must) {
  return fail(errc::invalid_argument, fmt::format("model shape: {} must be {}", field, must));
}

status within(const char* field, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
  if (value >= least && value <= most) return {};
  return refuse(field, fmt::format("between {} and {}, not {}", least, most, value));
}

// Kernels read rows eight values at a time.
status row_length(const char* field, std::uint32_t value, std::uint32_t least) {
  if (auto ok = within(field, value, least, 1u << 16); !ok) return ok;
  if (value % 8 != 0) return refuse(field, fmt::format("a multiple of 8, not {}", value));
  return {};
}

status check_routing(const moe_shape& s) {
  if (auto ok = within("experts", s.experts, 1, 1u << 16); !ok) return ok;
  if (auto ok = within("groups", s.groups, 1, s.experts); !ok) return ok;
  if (s.experts % s.groups != 0)
    return refuse("groups", fmt::format("a divisor of experts ({}), not {}", s.experts, s.groups));
  if (auto ok = within("top_groups", s.top_groups, 1, s.groups); !ok) return ok;
  const auto choice = s.experts / s.groups * s.top_groups;
  if (auto ok = within("top_k", s.top_k, 1, choice < 256 ? choice : 256); !ok) return ok;
  if (s.score != scoring::softmax && s.score != scoring::sigmoid) return refuse("score", "softmax or sigmoid");
  if (!(std::isfinite(s.routed_scale) && s.routed_scale > 0)) return refuse("routed_scale", "finite and above 0");
  return {};
}

}  // namespace

status check(const moe_shape& s) {
  if (auto ok = within("layers", s.layers, 1, 4096); !ok) return ok;
  if (auto ok = check_routing(s); !ok) return ok;
  if (auto ok = row_length("hidden", s.hidden, 8); !ok) return ok;
  if (auto ok = row_length("intermediate", s.intermediate, 8); !ok) return ok;
  if (auto ok = row_length("shared_intermediate", s.shared_intermediate, 0); !ok) return ok;
  if (!(std::isfinite(s.norm_eps) && s.norm_eps > 0)) return refuse("norm_eps", "finite and above 0");
  if (s.expert_type > dtype::f8_e4m3) return refuse("expert_type", "f32, bf16, f16 or f8_e4m3");
  if (s.expert_type == dtype::f8_e4m3) return within("scale_block", s.scale_block, 1, 1u << 16);
  return {};
}

const tensor_slot* tensor_layout::find(const std::string& name) const {
  for (const auto& t : tensors)
    if (t.name == name) return &t;
  return nullptr;
}

tensor_layout expert_layout(const moe_shape& s) {
  tensor_layout layout;
  add(layout, "gate", s.expert_type, s.intermediate, s.hidden);
  add(layout, "up", s.expert_type, s.intermediate, s.hidden);
  add(layout, "down", s.expert_type, s.hidden, s.intermediate);
  if (s.expert_type == dtype::f8_e4m3) {
    const auto wide = blocks(s.hidden, s.scale_block);
    const auto narrow = blocks(s.intermediate, s.scale_block);
    add(layout, "gate_scale", dtype::f32, narrow, wide);
    add(layout, "up_scale", dtype::f32, narrow, wide);
    add(layout, "down_scale", dtype::f32, wide, narrow);
  }
  return layout;
}

tensor_layout dense_layout(const moe_shape& s) {
  tensor_layout layout;
  add(layout, "norm", dtype::f32, 1, s.hidden);
  add(layout, "router", dtype::f32, s.experts, s.hidden);
  if (s.router_bias) add(layout, "router_bias", dtype::f32, 1, s.experts);
  if (s.shared_intermediate != 0) {
    add(layout, "shared_gate", dtype::f32, s.shared_intermediate, s.hidden);
    add(layout, "shared_up", dtype::f32, s.shared_intermediate, s.hidden);
    add(layout, "shared_down", dtype::f32, s.hidden, s.shared_intermediate);
  }
  return layout;
}

}  // namespace ballast::gpu
