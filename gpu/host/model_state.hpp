// What a rank holds of one model.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "gpu/device.hpp"
#include "gpu/host/layer.hpp"
#include "gpu/host/page_pool.hpp"

namespace ballast::gpu::host {

struct dense_blob {
  std::vector<std::byte> bytes;
  std::uint64_t checksum = 0;
};

struct model_state {
  model_state(const moe_shape& shape, const model_capacity& capacity)
      : math(shape),
        pool(math.bundle_bytes(), shape.layers * capacity.slots_per_layer + capacity.spare_pages),
        slots(shape.layers, slot_entries(capacity)) {}

  const layer_math math;
  host_page_pool pool;
  host_slot_table slots;

  // Set by the issuing thread, read by it and by the page server.
  std::shared_ptr<const dense_blob> dense() const {
    const std::lock_guard lock(mutex_);
    return dense_;
  }
  void set_dense(std::shared_ptr<const dense_blob> blob) {
    const std::lock_guard lock(mutex_);
    dense_ = std::move(blob);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const dense_blob> dense_;
};

using model_states = std::vector<std::unique_ptr<model_state>>;

}  // namespace ballast::gpu::host
