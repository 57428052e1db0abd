// Expert pages and slot tables: weights live in pages, layers reach them through slot tables of pointers. Moving an expert
// is filling a spare page and then changing a pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast::gpu {

using page_index = std::uint32_t;

// Which expert a page holds.
struct page_key {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
  auto operator<=>(const page_key&) const = default;
};

// A rank's pages for one model: one allocation, made at start, of `layers * slots_per_layer + spare_pages` pages.
// Threads: every function may be called from any thread; none waits for the forward's work. Page contents are written only
// by write*() and by a weight transport, and only while the page is `filling`.
// Checksums are the backend's own hash of 64 bits, the same on all ranks of a backend.
// Life of a page: spare -> filling (take) -> resident (seal: contents verified, checksum kept) -> spare (give_back).
// A spare page keeps what it held until it is taken for something else, so that an expert that comes back, as after a lost
// rank or a scale up and down again, need not be brought from elsewhere: spare -> resident (take_kept).
class page_pool {
 public:
  virtual ~page_pool() = default;
  virtual std::size_t page_bytes() const noexcept = 0;
  virtual std::uint32_t capacity() const noexcept = 0;
  virtual std::uint32_t spare() const noexcept = 0;

  // A spare page, now filling: one that keeps nothing, else the one that was given back first. Errors: does_not_fit.
  virtual result<page_index> take() = 0;
  // A spare page that keeps `key`, now resident again; its bytes are as they were, so verify() before a table names it.
  virtual std::optional<page_index> take_kept(page_key key) = 0;
  // Copies host bytes into a filling page, all of them or a piece. Errors: invalid_argument (size, state).
  virtual status write(page_index page, std::span<const std::byte> bundle) = 0;
  virtual status write_at(page_index page, std::size_t offset, std::span<const std::byte> piece) = 0;
  // Verifies a filling page against `expected` (none: computes it) and makes it resident under `key`. Errors: corrupt.
  virtual status seal(page_index page, page_key key, std::optional<std::uint64_t> expected) = 0;
  // Resident page that holds `key`, if any.
  virtual std::optional<page_index> find(page_key key) const = 0;
  virtual std::uint64_t checksum(page_index page) const = 0;         // of a resident page
  // Whether each page's contents still match its checksum. Errors: corrupt, invalid_argument (not resident).
  virtual std::vector<status> verify_each(std::span<const page_index> pages) const = 0;
  status verify(page_index page) const { return verify_each({&page, 1}).front(); }
  virtual result<std::size_t> read(page_index page, std::span<std::byte> out) const = 0;  // copies a resident page out
  // Page is spare again. The caller has made sure that no table names it.
  virtual void give_back(page_index page) = 0;
  virtual void discard(page_index page) = 0;  // the same, and what it held is not kept
};

// The entries the grouped GEMM reads: (layer, slot) -> page and the expert it is named for.
// Threads: the rank's issuing thread only.
class slot_table {
 public:
  struct entry {
    page_index page = 0;
    std::uint32_t expert = 0;
    bool used = false;
  };
  virtual ~slot_table() = default;
  virtual std::uint32_t entries_per_layer() const noexcept = 0;
  virtual void set(std::uint32_t layer, std::uint32_t slot, page_index page, std::uint32_t expert) = 0;
  virtual void clear(std::uint32_t layer, std::uint32_t slot) = 0;
  virtual entry at(std::uint32_t layer, std::uint32_t slot) const = 0;
};

}  // namespace ballast::gpu
