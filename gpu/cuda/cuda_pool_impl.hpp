// A rank's pages of one model in GPU memory.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "gpu/cuda/checksum_impl.hpp"
#include "gpu/cuda/staging_impl.hpp"
#include "gpu/page_book.hpp"

namespace ballast::gpu::cuda {

// One allocation, made at start; pages begin at multiples of stride() (page_bytes rounded up to 256).
// Threads: any. write, read, seal and verify wait for copies and checksums of their own, on streams of the pool's own
// with the lowest priority, never for the forward. Checksums are checksum_of() of this folder, computed by the GPU. A
// reader pins its page (page_book); take() waits while every spare page is pinned: no longer than a read, or a peer's
// lease. Errors beside the interface's: io (the GPU's).
class cuda_page_pool final : public page_pool {
 public:
  static result<std::unique_ptr<cuda_page_pool>> make(int ordinal, std::size_t page_bytes, std::uint32_t pages);

  std::size_t page_bytes() const noexcept override { return page_bytes_; }
  std::uint32_t capacity() const noexcept override { return book_.capacity(); }
  std::uint32_t spare() const noexcept override { return book_.spare(); }
  result<page_index> take() override { return book_.take(); }
  std::optional<page_index> take_kept(page_key key) override { return book_.take_kept(key); }
  status write(page_index page, std::span<const std::byte> bundle) override;
  status write_at(page_index page, std::size_t offset, std::span<const std::byte> piece) override;
  status seal(page_index page, page_key key, std::optional<std::uint64_t> expected) override;
  std::optional<page_index> find(page_key key) const override { return book_.find(key); }
  std::uint64_t checksum(page_index page) const override { return book_.checksum(page); }
  std::vector<status> verify_each(std::span<const page_index> pages) const override;
  result<std::size_t> read(page_index page, std::span<std::byte> out) const override;
  void give_back(page_index page) override { book_.give_back(page); }
  void discard(page_index page) override { book_.discard(page); }

  // Makes a filling page resident that a transport has filled and whose checksum it has verified. Waits for nothing.
  status seal_verified(page_index page, page_key key, std::uint64_t sum) { return book_.publish(page, key, sum); }
  status check_filling(page_index page) const { return book_.check_filling(page, "pull"); }
  // Copies a piece of the page that holds `key`, if its checksum is the one named. Errors: not_found, invalid_argument.
  status read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const;
  std::optional<std::uint64_t> checksum_of_key(page_key key) const { return book_.checksum_of(key); }
  // Keeps the page that holds `key` in place for a peer that copies from it; gone before the pool is. Errors:
  // not_found.
  result<page_book::pin> hold(page_key key) const { return book_.hold(key, std::nullopt); }

  int ordinal() const noexcept { return ordinal_; }
  std::size_t stride() const noexcept { return stride_; }
  std::byte* at(page_index page) const noexcept { return pages_.data() + page * stride_; }  // device address
  // The address of `page` if it is resident under `key`, else null. Its bytes stay while a table names the page.
  const std::byte* resident(page_index page, page_key key) const { return book_.holds(page, key) ? at(page) : nullptr; }
  // For other processes; none where the system cannot export memory.
  const std::optional<cudaIpcMemHandle_t>& handle() const noexcept { return handle_; }
  std::byte* raw(page_index page) noexcept { return at(page); }  // for tests that corrupt memory (device address)

 private:
  cuda_page_pool(int ordinal, std::size_t page_bytes, std::uint32_t pages);
  status allocate(std::uint32_t pages);
  result<std::vector<std::uint64_t>> sums_of(std::span<const page_index> pages) const;
  result<std::uint64_t> sum_of(page_index page) const;

  const int ordinal_;
  const std::size_t page_bytes_, stride_;
  memory pages_;
  std::optional<cudaIpcMemHandle_t> handle_;
  page_book book_;
  std::array<staging, 16> in_;  // pages are loaded by many threads at once: at start, and when a rank is lost
  std::atomic<unsigned> turn_{0};
  mutable staging out_;
  mutable std::mutex sum_mutex_;  // guards what follows
  memory sum_parts_;
  stream sums_;
};

}  // namespace ballast::gpu::cuda
