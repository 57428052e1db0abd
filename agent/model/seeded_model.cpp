#include "agent/model/seeded_model.hpp"

#include <cmath>
#include <cstring>
#include <utility>

#include "agent/model/fingerprint.hpp"
#include "agent/model/number_formats.hpp"
#include "agent/model/random_weights.hpp"

namespace ballast {
namespace {

// Kinds of random streams. Their numbers are part of what a seed means: never renumber.
enum stream_kind : std::uint32_t {
  k_norm = 1,
  k_router,
  k_bias,
  k_shared_gate,
  k_shared_up,
  k_shared_down,
  k_gate,
  k_up,
  k_down
};

// What SwiGLU makes of two normal inputs has a root mean square of 0.6.
constexpr float swiglu_size = 0.6f;

float inverse_root(std::uint32_t n) { return 1.0f / std::sqrt(static_cast<float>(n)); }

struct recipe {
  stream_kind kind = k_norm;
  float mean = 0;
  float deviation = 0;
};

class seeded_model final : public model_source {
 public:
  seeded_model(std::string name, std::uint64_t seed, const gpu::moe_shape& shape, const seeded_options& options)
      : name_(std::move(name)),
        seed_(seed),
        shape_(shape),
        options_(options),
        expert_(gpu::expert_layout(shape)),
        dense_(gpu::dense_layout(shape)) {
    fingerprint_builder made(shape_);
    made.add(&seed_, sizeof seed_);
    made.add(&options_.expert_gain, sizeof options_.expert_gain);
    fingerprint_ = made.finish("seed");
  }

  const std::string& name() const noexcept override { return name_; }
  const gpu::moe_shape& shape() const noexcept override { return shape_; }
  const std::string& fingerprint() const noexcept override { return fingerprint_; }

  result<std::vector<std::byte>> dense() const override {
    std::vector<std::byte> all(dense_.bytes * shape_.layers);
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
      for (const gpu::tensor_slot& slot : dense_.tensors) fill_dense(layer, slot, all.data() + layer * dense_.bytes);
    }
    return all;
  }

  status bundle(std::uint32_t layer, std::uint32_t expert, std::span<std::byte> out) const override {
    if (auto ok = check_bundle_request(shape_, expert_, layer, expert, out.size()); !ok) return ok;
    std::memset(out.data(), 0, out.size());
    fill_expert(layer, expert, k_gate, "gate", inverse_root(shape_.hidden), out);
    fill_expert(layer, expert, k_up, "up", inverse_root(shape_.hidden), out);
    fill_expert(layer, expert, k_down, "down", down_deviation(shape_.intermediate), out);
    return {};
  }

 private:
  float down_deviation(std::uint32_t width) const {
    return options_.expert_gain / swiglu_size / shape_.routed_scale * inverse_root(width);
  }

  recipe recipe_of(const std::string& slot) const {
    if (slot == "norm") return {k_norm, 1.0f, 0.1f};
    if (slot == "router") return {k_router, 0, 1.5f * inverse_root(shape_.hidden)};
    if (slot == "router_bias") return {k_bias, 0, 0.02f};
    if (slot == "shared_gate") return {k_shared_gate, 0, inverse_root(shape_.hidden)};
    if (slot == "shared_up") return {k_shared_up, 0, inverse_root(shape_.hidden)};
    return {k_shared_down, 0, down_deviation(shape_.shared_intermediate)};
  }

  void fill_dense(std::uint32_t layer, const gpu::tensor_slot& slot, std::byte* out) const {
    const recipe how = recipe_of(slot.name);
    std::vector<float> values(std::size_t{slot.rows} * slot.cols);
    random_values(seed_, {how.kind, layer, 0}).fill_normal(values, how.deviation, how.mean);
    const gpu::dtype kept = dense_type(shape_.expert_type);
    std::vector<std::byte> stored(values.size() * size_of(kept));
    encode(values, kept, stored);
    decode(stored, kept, values);
    std::memcpy(out + slot.offset, values.data(), values.size() * sizeof(float));
  }

  void fill_expert(std::uint32_t layer, std::uint32_t expert, stream_kind kind, const std::string& name,
                   float deviation, std::span<std::byte> out) const {
    const gpu::tensor_slot& slot = *expert_.find(name);
    std::vector<float> values(std::size_t{slot.rows} * slot.cols);
    random_values(seed_, {kind, layer, expert}).fill_normal(values, deviation);
    const auto stored = out.subspan(slot.offset, slot.bytes);
    if (shape_.expert_type != gpu::dtype::f8_e4m3) return encode(values, shape_.expert_type, stored);
    const gpu::tensor_slot& scale_slot = *expert_.find(name + "_scale");
    std::vector<float> scales(std::size_t{scale_slot.rows} * scale_slot.cols);
    quantise(values, slot.rows, slot.cols, shape_.scale_block, stored, scales);
    std::memcpy(out.data() + scale_slot.offset, scales.data(), scales.size() * sizeof(float));
  }

  std::string name_;
  std::uint64_t seed_;
  gpu::moe_shape shape_;
  seeded_options options_;
  gpu::tensor_layout expert_, dense_;
  std::string fingerprint_;
};

}  // namespace

gpu::dtype dense_type(gpu::dtype expert_type) noexcept {
  return expert_type == gpu::dtype::f8_e4m3 ? gpu::dtype::bf16 : expert_type;
}

std::unique_ptr<model_source> make_seeded_model(std::string name, std::uint64_t seed, const gpu::moe_shape& shape,
                                                const seeded_options& options) {
  return std::make_unique<seeded_model>(std::move(name), seed, shape, options);
}

}  // namespace ballast
