// Copies pages between GPUs with the copy engines, in batches, and sums what has arrived; several batches are under
// way.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "gpu/cuda/checksum_impl.hpp"
#include "gpu/cuda/runtime_impl.hpp"

namespace ballast::gpu::cuda {

// Threads: one, standing on the GPU it was made on. Its two streams have the lowest priority: copies go on one,
// checksums of a batch on the other once its copies are done, so that the next batch's copies do not wait for them. A
// batch is made by copy() and then finish(); batches end in order.
class page_copier {
 public:
  static constexpr std::size_t most_batches = 3;
  struct copy {
    std::byte* to;
    const std::byte* from;
    std::size_t bytes;
  };

  static result<std::unique_ptr<page_copier>> make();
  page_copier() = default;
  ~page_copier();  // waits for what is under way
  std::size_t under_way() const noexcept { return used_; }
  bool full() const noexcept { return used_ == most_batches; }

  status issue(std::span<const copy> copies);  // of the batch being made
  // Ends the batch; `arrived` are its pages, of `page_bytes` each. Only if not full(). Not to verify: wait_oldest()
  // then answers sums that mean nothing.
  status finish(const checksum_batch& arrived, std::size_t page_bytes, bool verify);
  void abandon() noexcept;  // waits for the copies of the batch being made
  // Waits for the oldest batch: the checksums of its pages, in order.
  result<std::vector<std::uint64_t>> wait_oldest();

 private:
  struct batch {
    event copied, summed;
    std::uint64_t* parts = nullptr;
    std::uint32_t pages = 0;
    std::size_t page_bytes = 0;
  };
  memory parts_;
  std::array<batch, most_batches> ring_;
  std::size_t first_ = 0, used_ = 0;
  stream copies_, sums_;
};

}  // namespace ballast::gpu::cuda
