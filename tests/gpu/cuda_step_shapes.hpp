// Small models of every kind that the cuda backend computes.
#pragma once

#include <ostream>
#include <vector>

#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {

inline moe_shape wide_shape(dtype type = dtype::bf16) {
  auto s = small_shape(type);
  s.layers = 3;
  s.experts = 16;
  s.top_k = 4;
  s.hidden = 256;
  s.intermediate = type == dtype::f8_e4m3 ? 176 : 168;  // rows of whole 16 bytes, not of whole products
  s.shared_intermediate = 0;
  s.scale_block = 32;
  return s;
}

inline moe_shape deepseek_shape() {
  auto s = wide_shape(dtype::f8_e4m3);
  s.groups = 4;
  s.top_groups = 2;
  s.score = scoring::sigmoid;
  s.router_bias = true;
  s.routed_scale = 2.5f;
  s.shared_intermediate = 48;
  s.scale_block = 64;
  return s;
}

struct named_shape {
  const char* name;
  moe_shape shape;
};
inline void PrintTo(const named_shape& s, std::ostream* out) { *out << s.name; }
inline std::vector<named_shape> shapes() {
  auto odd = wide_shape();
  odd.hidden = 200;
  odd.intermediate = 72;
  odd.top_k = 1;
  odd.renormalise = false;
  return {{"bf16", wide_shape()}, {"f8", wide_shape(dtype::f8_e4m3)}, {"deepseek", deepseek_shape()}, {"odd", odd}};
}

}  // namespace ballast::gpu::test
