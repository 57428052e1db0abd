// What a rank holds of one model.
#pragma once

#include <memory>
#include <vector>

#include "gpu/device.hpp"
#include "gpu/host/layer.hpp"
#include "gpu/host/page_pool.hpp"
#include "gpu/host/served_model.hpp"

namespace ballast::gpu::host {

struct model_state final : served_model {
  model_state(const moe_shape& shape, const model_capacity& capacity)
      : math(shape),
        pool(math.bundle_bytes(), shape.layers * capacity.slots_per_layer + capacity.spare_pages),
        slots(shape.layers, slot_entries(capacity)) {}

  const layer_math math;
  host_page_pool pool;
  host_slot_table slots;

  std::size_t page_bytes() const noexcept override { return pool.page_bytes(); }
  std::optional<std::uint64_t> checksum_of_key(page_key key) const override { return pool.checksum_of_key(key); }
  status read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const override {
    return pool.read_key(key, sum, offset, out);
  }
  std::shared_ptr<const dense_blob> dense() const override { return dense_.get(); }
  void set_dense(std::shared_ptr<const dense_blob> blob) { dense_.set(std::move(blob)); }

 private:
  dense_keeper dense_;
};

using model_states = std::vector<std::unique_ptr<model_state>>;

}  // namespace ballast::gpu::host
