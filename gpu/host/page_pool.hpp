// Pages and slot tables in host memory.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gpu/pages.hpp"

namespace ballast::gpu::host {

std::uint64_t checksum_of(std::span<const std::byte> bytes) noexcept;  // XXH3-64

// Threads: any. A reader pins its page: a page given back meanwhile is not handed out again until the reader is done,
// so that bytes are never read while they change. Only take() may wait for that, and no longer than one read lasts.
class host_page_pool final : public page_pool {
 public:
  host_page_pool(std::size_t page_size, std::uint32_t pages);

  std::size_t page_bytes() const noexcept override { return page_bytes_; }
  std::uint32_t capacity() const noexcept override { return static_cast<std::uint32_t>(pages_.size()); }
  std::uint32_t spare() const noexcept override;

  result<page_index> take() override;
  status write(page_index page, std::span<const std::byte> bundle) override;
  status seal(page_index page, page_key key, std::optional<std::uint64_t> expected) override;
  std::optional<page_index> find(page_key key) const override;
  std::uint64_t checksum(page_index page) const override;
  status verify(page_index page) const override;
  result<std::size_t> read(page_index page, std::span<std::byte> out) const override;
  void give_back(page_index page) override;

  // Writes a piece of a filling page. Errors: invalid_argument.
  status write_at(page_index page, std::size_t offset, std::span<const std::byte> piece);
  // Copies a piece of the page that holds `key`, if its checksum is the one named. Errors: not_found, invalid_argument.
  status read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const;
  std::optional<std::uint64_t> checksum_of_key(page_key key) const;

  // For kernels: the bytes of `page` if it is resident under `key`, else null. They stay valid while a table names the
  // page.
  const std::byte* resident(page_index page, page_key key) const;
  // For tests that corrupt memory.
  std::byte* raw(page_index page) noexcept { return memory_.get() + page * page_bytes_; }

 private:
  enum class page_state : std::uint8_t { spare, filling, resident };
  struct entry {
    page_state state = page_state::spare;
    page_key key{};
    std::uint64_t checksum = 0;
    mutable std::uint32_t pins = 0;
  };
  struct aligned_delete {
    void operator()(std::byte* p) const noexcept;
  };
  class pin;

  std::span<const std::byte> bytes(page_index page) const noexcept {
    return {memory_.get() + page * page_bytes_, page_bytes_};
  }
  status check_state(page_index page, page_state wanted, const char* what) const;

  const std::size_t page_bytes_;
  std::unique_ptr<std::byte, aligned_delete> memory_;
  mutable std::mutex mutex_;
  mutable std::condition_variable unpinned_;
  std::vector<entry> pages_;                    // guarded by mutex_, as all below
  std::vector<page_index> spare_;               // a stack
  std::multimap<page_key, page_index> by_key_;  // several pages may hold one expert while it changes its slot
};

class host_slot_table final : public slot_table {
 public:
  host_slot_table(std::uint32_t layers, std::uint32_t per_layer)
      : per_layer_(per_layer), entries_(std::size_t{layers} * per_layer) {}
  std::uint32_t entries_per_layer() const noexcept override { return per_layer_; }
  void set(std::uint32_t layer, std::uint32_t slot, page_index page, std::uint32_t expert) override {
    entries_.at(place(layer, slot)) = {page, expert, true};
  }
  void clear(std::uint32_t layer, std::uint32_t slot) override { entries_.at(place(layer, slot)) = {}; }
  entry at(std::uint32_t layer, std::uint32_t slot) const override { return entries_.at(place(layer, slot)); }

 private:
  std::size_t place(std::uint32_t layer, std::uint32_t slot) const {
    return slot < per_layer_ ? std::size_t{layer} * per_layer_ + slot : entries_.size();
  }
  const std::uint32_t per_layer_;
  std::vector<entry> entries_;
};

}  // namespace ballast::gpu::host
