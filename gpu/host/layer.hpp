// One MoE layer's pieces, shared by the distributed step and the reference: where they run differs, their bits do not.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpu/host/kernels.hpp"
#include "gpu/model_shape.hpp"

namespace ballast::gpu::host {

struct choice {
  std::uint32_t expert = 0;
  float weight = 0;
};

// A layer's dense weights in place, and the layouts, computed once. Threads: immutable; `run` functions need a
// workspace that no other thread uses meanwhile.
class layer_math {
 public:
  explicit layer_math(const moe_shape& shape, isa with = best_isa());
  const moe_shape& shape() const noexcept { return shape_; }
  std::size_t dense_bytes() const noexcept { return dense_.bytes; }
  std::size_t bundle_bytes() const noexcept { return expert_.bytes; }

  struct workspace {
    std::vector<float> gate, up, logits, score, choose;
  };

  // normed[tokens][hidden] from hidden[tokens][hidden].
  void norm(const std::byte* dense, const float* hidden, std::uint32_t tokens, float* normed) const;
  // out[tokens][top_k], in descending order of choice; ties go to the lower expert.
  void route(const std::byte* dense, const float* normed, std::uint32_t tokens, choice* out, workspace& work) const;
  // out[tokens][hidden] of one expert's bundle.
  void run_expert(const std::byte* bundle, const float* x, std::uint32_t tokens, float* out, workspace& work) const;
  // out[tokens][hidden] of the shared expert. Does nothing when the shape has none.
  void run_shared(const std::byte* dense, const float* x, std::uint32_t tokens, float* out, workspace& work) const;
  // hidden = (hidden + sum over k of weight_k * expert_k) + shared, for one token. shared: null if none.
  void combine(float* hidden, const choice* chosen, const float* const* expert_out, const float* shared) const;

 private:
  void choose(float* score, const float* bias, choice* out, std::vector<float>& scratch) const;
  void mask_groups(std::span<float> preference) const;
  void swiglu_block(const matrix& gate, const matrix& up, const matrix& down, const float* x, std::uint32_t tokens,
                    float* out, workspace& work) const;

  const moe_shape shape_;
  const isa isa_;
  const tensor_layout expert_, dense_;
  const tensor_slot *gate_, *up_, *down_, *gate_scale_, *up_scale_, *down_scale_;
  const tensor_slot *norm_, *router_, *bias_, *shared_gate_, *shared_up_, *shared_down_;
};

}  // namespace ballast::gpu::host
