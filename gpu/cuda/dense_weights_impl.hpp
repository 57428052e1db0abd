// What every rank holds of a model: norms, routers and shared experts, in device memory.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "gpu/cuda/kernels_impl.hpp"
#include "gpu/cuda/runtime_impl.hpp"
#include "gpu/model_shape.hpp"

namespace ballast::gpu::cuda {

// Allocated at start. Shared experts are kept as bf16, as the routed ones are. Threads: the issuing thread.
class dense_weights {
 public:
  static result<std::unique_ptr<dense_weights>> make(const moe_shape& shape);
  // All layers in order, each dense_layout().bytes long. Waits for a copy engine.
  status load(std::span<const std::byte> weights);
  const dense_view& layer(std::uint32_t layer) const { return views_.at(layer); }

 private:
  explicit dense_weights(const moe_shape& shape) : shape_(shape), layout_(dense_layout(shape)) {}
  std::size_t kept_bytes() const;  // of a layer: what is copied as it is
  std::size_t shared_bytes() const noexcept {
    return std::size_t{3} * shape_.shared_intermediate * shape_.hidden * sizeof(std::uint16_t);
  }
  void describe();

  const moe_shape shape_;
  const tensor_layout layout_;
  memory kept_, shared_, slots_;
  std::vector<dense_view> views_;
};

}  // namespace ballast::gpu::cuda
