// The slot table of a model on the device, with its twin on the host.
#pragma once

#include <vector>

#include "gpu/cuda/cuda_pool_impl.hpp"
#include "gpu/cuda/publish_impl.hpp"

namespace ballast::gpu::cuda {

// Threads: the issuing thread. Changes are gathered and reach the device with flush(), which only issues.
class cuda_slot_table final : public slot_table {
 public:
  // `pool` must outlive the table. The GPU must be current.
  static result<std::unique_ptr<cuda_slot_table>> make(std::uint32_t layers, std::uint32_t per_layer,
                                                       const cuda_page_pool& pool);
  std::uint32_t entries_per_layer() const noexcept override { return per_layer_; }
  void set(std::uint32_t layer, std::uint32_t slot, page_index page, std::uint32_t expert) override;
  void clear(std::uint32_t layer, std::uint32_t slot) override;
  entry at(std::uint32_t layer, std::uint32_t slot) const override { return entries_.at(place(layer, slot)); }

  // What is issued on `on` afterwards reads the table as it is now. Errors: corrupt (a page that does not hold the
  // expert it is named for; nothing more was issued).
  status flush(cudaStream_t on);
  const slot_view* layer(std::uint32_t layer) const noexcept {
    return device_.as<slot_view>() + std::size_t{layer} * per_layer_;
  }

 private:
  cuda_slot_table(std::uint32_t layers, std::uint32_t per_layer, const cuda_page_pool& pool, memory device)
      : per_layer_(per_layer), entries_(std::size_t{layers} * per_layer), pool_(pool), device_(std::move(device)) {}
  std::size_t place(std::uint32_t layer, std::uint32_t slot) const {
    return slot < per_layer_ ? std::size_t{layer} * per_layer_ + slot : entries_.size();
  }
  void change(std::size_t at, entry to);

  const std::uint32_t per_layer_;
  std::vector<entry> entries_;
  const cuda_page_pool& pool_;
  memory device_;
  std::vector<std::size_t> changed_;
};

}  // namespace ballast::gpu::cuda
