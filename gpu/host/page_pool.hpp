// Pages and slot tables in host memory.
#pragma once

#include <memory>
#include <vector>

#include "gpu/page_book.hpp"

namespace ballast::gpu::host {

std::uint64_t checksum_of(std::span<const std::byte> bytes) noexcept;  // XXH3-64

// Threads: any. A reader pins its page (page_book); take() waits for pins no longer than one read lasts.
class host_page_pool final : public page_pool {
 public:
  host_page_pool(std::size_t page_size, std::uint32_t pages);

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

  // Copies a piece of the page that holds `key`, if its checksum is the one named. Errors: not_found, invalid_argument.
  status read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const;
  std::optional<std::uint64_t> checksum_of_key(page_key key) const { return book_.checksum_of(key); }

  // For kernels: the bytes of `page` if it is resident under `key`, else null. They stay valid while a table names the
  // page.
  const std::byte* resident(page_index page, page_key key) const {
    return book_.holds(page, key) ? bytes(page).data() : nullptr;
  }
  // For tests that corrupt memory.
  std::byte* raw(page_index page) noexcept { return memory_.get() + page * page_bytes_; }

 private:
  struct aligned_delete {
    void operator()(std::byte* p) const noexcept;
  };

  std::span<const std::byte> bytes(page_index page) const noexcept {
    return {memory_.get() + page * page_bytes_, page_bytes_};
  }

  status verify_one(page_index page) const;

  const std::size_t page_bytes_;
  std::unique_ptr<std::byte, aligned_delete> memory_;
  page_book book_;
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
