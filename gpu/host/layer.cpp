#include "gpu/host/layer.hpp"

#include <algorithm>
#include <limits>

namespace ballast::gpu::host {
namespace {
constexpr float never = -std::numeric_limits<float>::infinity();

const float* floats(const std::byte* base, const tensor_slot* t) {
  return t == nullptr ? nullptr : reinterpret_cast<const float*>(base + t->offset);
}

// Index of the largest value; ties go to the lower index.
std::size_t best_of(std::span<const float> values) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best]) best = i;
  return best;
}
}  // namespace

layer_math::layer_math(const moe_shape& shape, isa with)
    : shape_(shape),
      isa_(with),
      expert_(expert_layout(shape)),
      dense_(dense_layout(shape)),
      gate_(expert_.find("gate")),
      up_(expert_.find("up")),
      down_(expert_.find("down")),
      gate_scale_(expert_.find("gate_scale")),
      up_scale_(expert_.find("up_scale")),
      down_scale_(expert_.find("down_scale")),
      norm_(dense_.find("norm")),
      router_(dense_.find("router")),
      bias_(dense_.find("router_bias")),
      shared_gate_(dense_.find("shared_gate")),
      shared_up_(dense_.find("shared_up")),
      shared_down_(dense_.find("shared_down")) {}

void layer_math::norm(const std::byte* dense, const float* hidden, std::uint32_t tokens, float* normed) const {
  for (std::size_t t = 0; t < tokens; ++t)
    rms_norm(hidden + t * shape_.hidden, floats(dense, norm_), shape_.norm_eps, shape_.hidden,
             normed + t * shape_.hidden);
}

void layer_math::route(const std::byte* dense, const float* normed, std::uint32_t tokens, choice* out,
                       workspace& work) const {
  const std::size_t experts = shape_.experts;
  work.logits.resize(std::max<std::size_t>(work.logits.size(), tokens * experts));
  multiply(view(dense, *router_), normed, tokens, work.logits.data(), isa_);
  for (std::size_t t = 0; t < tokens; ++t) {
    auto* score = work.logits.data() + t * experts;
    if (shape_.score == scoring::sigmoid) {
      for (std::size_t e = 0; e < experts; ++e) score[e] = 1.0f / (1.0f + exponential(-score[e]));
    } else {
      const auto top = score[best_of({score, experts})];
      float sum = 0;
      for (std::size_t e = 0; e < experts; ++e) sum += score[e] = exponential(score[e] - top);
      for (std::size_t e = 0; e < experts; ++e) score[e] /= sum;
    }
    choose(score, floats(dense, bias_), out + t * shape_.top_k, work.choose);
  }
}

// Keeps the experts of the best groups. A group is as good as its two best experts (sigmoid) or its best one (softmax).
void layer_math::mask_groups(std::span<float> preference) const {
  const std::size_t size = shape_.experts / shape_.groups;
  std::vector<float> worth(shape_.groups);
  for (std::size_t g = 0; g < shape_.groups; ++g) {
    float first = never, second = never;
    for (const auto p : preference.subspan(g * size, size)) {
      if (p > first) {
        second = first;
        first = p;
      } else if (p > second) {
        second = p;
      }
    }
    worth[g] = shape_.score == scoring::sigmoid && size > 1 ? first + second : first;
  }
  std::vector<bool> kept(shape_.groups, false);
  for (std::uint32_t n = 0; n < shape_.top_groups; ++n) {
    std::size_t best = shape_.groups;
    for (std::size_t g = 0; g < shape_.groups; ++g)
      if (!kept[g] && (best == shape_.groups || worth[g] > worth[best])) best = g;
    kept[best] = true;
  }
  for (std::size_t e = 0; e < preference.size(); ++e)
    if (!kept[e / size]) preference[e] = never;
}

void layer_math::choose(float* score, const float* bias, choice* out, std::vector<float>& scratch) const {
  scratch.resize(shape_.experts);
  for (std::size_t e = 0; e < shape_.experts; ++e) {
    const auto wish = bias == nullptr ? score[e] : score[e] + bias[e];
    scratch[e] = wish > std::numeric_limits<float>::lowest() ? wish : std::numeric_limits<float>::lowest();
  }
  if (shape_.groups > 1) mask_groups(scratch);
  float sum = 0;
  for (std::uint32_t k = 0; k < shape_.top_k; ++k) {
    const auto best = best_of(scratch);
    scratch[best] = never;
    out[k] = {static_cast<std::uint32_t>(best), score[best]};
    sum += score[best];
  }
  for (std::uint32_t k = 0; k < shape_.top_k; ++k) {
    if (shape_.renormalise) out[k].weight /= sum + 1e-20f;
    out[k].weight *= shape_.routed_scale;
  }
}

void layer_math::swiglu_block(const matrix& gate, const matrix& up, const matrix& down, const float* x,
                              std::uint32_t tokens, float* out, workspace& work) const {
  const auto inner = std::size_t{tokens} * gate.rows;
  work.gate.resize(std::max(work.gate.size(), inner));
  work.up.resize(std::max(work.up.size(), inner));
  multiply(gate, x, tokens, work.gate.data(), isa_);
  multiply(up, x, tokens, work.up.data(), isa_);
  swiglu(work.gate.data(), work.up.data(), inner);
  multiply(down, work.gate.data(), tokens, out, isa_);
}

void layer_math::run_expert(const std::byte* bundle, const float* x, std::uint32_t tokens, float* out,
                            workspace& work) const {
  const auto block = shape_.scale_block;
  swiglu_block(view(bundle, *gate_, gate_scale_, block), view(bundle, *up_, up_scale_, block),
               view(bundle, *down_, down_scale_, block), x, tokens, out, work);
}

void layer_math::run_shared(const std::byte* dense, const float* x, std::uint32_t tokens, float* out,
                            workspace& work) const {
  if (shape_.shared_intermediate == 0) return;
  swiglu_block(view(dense, *shared_gate_), view(dense, *shared_up_), view(dense, *shared_down_), x, tokens, out, work);
}

void layer_math::combine(float* hidden, const choice* chosen, const float* const* expert_out,
                         const float* shared) const {
  for (std::uint32_t c = 0; c < shape_.hidden; ++c) {
    float sum = 0;
    for (std::uint32_t k = 0; k < shape_.top_k; ++k) sum += chosen[k].weight * expert_out[k][c];
    const auto routed = hidden[c] + sum;
    hidden[c] = shared == nullptr ? routed : routed + shared[c];
  }
}

}  // namespace ballast::gpu::host
