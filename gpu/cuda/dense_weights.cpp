#include <bit>
#include <cstring>

#include "gpu/cuda/dense_weights_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

// To nearest, ties to even.
std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fff'ffff) > 0x7f80'0000) return static_cast<std::uint16_t>(bits >> 16 | 0x40);  // stays a NaN
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace

std::size_t dense_weights::kept_bytes() const {
  const auto* first_shared = layout_.find("shared_gate");
  return first_shared == nullptr ? layout_.bytes : first_shared->offset;
}

result<std::unique_ptr<dense_weights>> dense_weights::make(const moe_shape& shape) {
  std::unique_ptr<dense_weights> made(new dense_weights(shape));
  auto kept = memory::make(memory_kind::device, shape.layers * made->kept_bytes(), "dense weights");
  if (!kept) return fail(kept.error());
  made->kept_ = std::move(*kept);
  if (shape.shared_intermediate != 0) {
    auto shared = memory::make(memory_kind::device, shape.layers * made->shared_bytes(), "shared experts");
    if (!shared) return fail(shared.error());
    auto slots = memory::make(memory_kind::device, shape.layers * sizeof(slot_view), "shared experts");
    if (!slots) return fail(slots.error());
    made->shared_ = std::move(*shared);
    made->slots_ = std::move(*slots);
  }
  made->describe();
  return made;
}

void dense_weights::describe() {
  const auto* norm = layout_.find("norm");
  const auto* router = layout_.find("router");
  const auto* bias = layout_.find("router_bias");
  for (std::size_t l = 0; l < shape_.layers; ++l) {
    const auto base = l * kept_bytes();
    views_.push_back({kept_.as<float>(base + norm->offset), kept_.as<float>(base + router->offset),
                      bias == nullptr ? nullptr : kept_.as<float>(base + bias->offset),
                      shape_.shared_intermediate == 0 ? nullptr : slots_.as<slot_view>() + l});
  }
}

status dense_weights::load(std::span<const std::byte> weights) {
  std::vector<std::uint16_t> shared(shared_bytes() / sizeof(std::uint16_t));
  for (std::size_t l = 0; l < shape_.layers; ++l) {
    const auto* from = weights.data() + l * layout_.bytes;
    const auto copied = cudaMemcpy(kept_.data() + l * kept_bytes(), from, kept_bytes(), cudaMemcpyHostToDevice);
    if (auto ok = check(copied, "copying dense weights"); !ok) return ok;
    if (shape_.shared_intermediate == 0) continue;
    std::size_t at = 0;
    for (const char* name : {"shared_gate", "shared_up", "shared_down"}) {
      const auto* tensor = layout_.find(name);
      for (std::size_t i = 0; i < tensor->bytes / sizeof(float); ++i) {
        float value = 0;
        std::memcpy(&value, from + tensor->offset + i * sizeof value, sizeof value);
        shared[at++] = to_bf16(value);
      }
    }
    auto* to = shared_.data() + l * shared_bytes();
    if (auto ok =
            check(cudaMemcpy(to, shared.data(), shared_bytes(), cudaMemcpyHostToDevice), "copying shared experts");
        !ok)
      return ok;
    const slot_view slot{to, 0, 0};
    const auto named = cudaMemcpy(slots_.as<slot_view>() + l, &slot, sizeof slot, cudaMemcpyHostToDevice);
    if (auto ok = check(named, "naming shared experts"); !ok) return ok;
  }
  return {};
}

}  // namespace ballast::gpu::cuda
