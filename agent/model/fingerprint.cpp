#include "agent/model/fingerprint.hpp"

#include <xxhash.h>

#include <array>
#include <cstdio>
#include <new>

namespace ballast {

struct fingerprint_builder::state {
  XXH3_state_t* hash = XXH3_createState();
  ~state() { XXH3_freeState(hash); }
};

fingerprint_builder::fingerprint_builder(const gpu::moe_shape& shape) : state_(std::make_unique<state>()) {
  if (state_->hash == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->hash);
  // Field by field: the padding of a struct is not part of the model.
  const std::array<std::uint32_t, 14> numbers{shape.layers,
                                              shape.experts,
                                              shape.top_k,
                                              shape.hidden,
                                              shape.intermediate,
                                              shape.shared_intermediate,
                                              shape.groups,
                                              shape.top_groups,
                                              static_cast<std::uint32_t>(shape.score),
                                              shape.renormalise,
                                              shape.router_bias,
                                              static_cast<std::uint32_t>(shape.expert_type),
                                              shape.scale_block,
                                              1 /* version of this recipe */};
  const std::array<float, 2> factors{shape.routed_scale, shape.norm_eps};
  add(numbers.data(), sizeof numbers);
  add(factors.data(), sizeof factors);
}

fingerprint_builder::~fingerprint_builder() = default;

void fingerprint_builder::add(const void* bytes, std::size_t size) { XXH3_128bits_update(state_->hash, bytes, size); }

std::string fingerprint_builder::finish(const std::string& kind) const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->hash);
  std::array<char, 33> text{};
  std::snprintf(text.data(), text.size(), "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return kind + "-" + text.data();
}

status check_bundle_request(const gpu::moe_shape& shape, const gpu::tensor_layout& layout, std::uint32_t layer,
                            std::uint32_t expert, std::size_t bytes) {
  if (layer >= shape.layers || expert >= shape.experts) {
    return fail(errc::invalid_argument, "layer " + std::to_string(layer) + " expert " + std::to_string(expert) +
                                            " does not exist: the model has " + std::to_string(shape.layers) +
                                            " layers of " + std::to_string(shape.experts) + " experts");
  }
  if (bytes != layout.bytes) {
    return fail(errc::invalid_argument, "an expert bundle has " + std::to_string(layout.bytes) + " bytes, not " +
                                            std::to_string(bytes) + ": pass a buffer of expert_layout().bytes");
  }
  return {};
}

}  // namespace ballast
