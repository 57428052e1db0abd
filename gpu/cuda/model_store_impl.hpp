// What a rank of the cuda backend keeps of one model's weights: experts in GPU memory, dense weights (also) on the
// host, from where they are served to joiners.
#pragma once

#include <memory>
#include <vector>

#include "gpu/cuda/cuda_pool_impl.hpp"
#include "gpu/host/served_model.hpp"

namespace ballast::gpu::cuda {

// Threads: any.
class cuda_model_store final : public host::served_model {
 public:
  // dense_bytes: of all layers together.
  cuda_model_store(std::unique_ptr<cuda_page_pool> pages, std::size_t dense_bytes)
      : pool_(std::move(pages)), dense_bytes_(dense_bytes) {}

  cuda_page_pool& pool() const noexcept { return *pool_; }
  std::size_t dense_bytes() const noexcept { return dense_bytes_; }
  status set_dense(std::vector<std::byte> weights);  // Errors: invalid_argument (size)

  std::size_t page_bytes() const noexcept override { return pool_->page_bytes(); }
  std::optional<std::uint64_t> checksum_of_key(page_key key) const override { return pool_->checksum_of_key(key); }
  status read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const override {
    return pool_->read_key(key, sum, offset, out);
  }
  std::shared_ptr<const host::dense_blob> dense() const override { return dense_.get(); }

 private:
  const std::unique_ptr<cuda_page_pool> pool_;
  const std::size_t dense_bytes_;
  host::dense_keeper dense_;
};

using cuda_model_stores = std::vector<std::unique_ptr<cuda_model_store>>;

}  // namespace ballast::gpu::cuda
