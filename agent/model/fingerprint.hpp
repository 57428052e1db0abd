// How a model is told from another: a hash of its shape, its tensors' formats and their contents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

// XXH3-128 over everything added, in order. One thread.
class fingerprint_builder {
 public:
  explicit fingerprint_builder(const gpu::moe_shape& shape);
  ~fingerprint_builder();
  void add(const void* bytes, std::size_t size);
  std::string finish(const std::string& kind) const;  // "kind-<32 hex digits>"

 private:
  struct state;
  std::unique_ptr<state> state_;
};

// What every source's bundle() checks first. Error: invalid_argument.
status check_bundle_request(const gpu::moe_shape& shape, const gpu::tensor_layout& layout, std::uint32_t layer,
                            std::uint32_t expert, std::size_t bytes);

}  // namespace ballast
