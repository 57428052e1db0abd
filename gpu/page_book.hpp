// Which page is what: the states, keys and checksums of a pool's pages, apart from the memory that holds their bytes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "gpu/pages.hpp"

namespace ballast::gpu {

// Threads: any. A reader pins its page: a page given back meanwhile is not handed out again until the last pin is gone,
// so that bytes are never read while they change. Only take() waits for that.
class page_book {
 public:
  // Keeps a resident page's bytes in place. Any thread; gone before the book is.
  class pin {
   public:
    pin() = default;
    pin(pin&& other) noexcept
        : book_(std::exchange(other.book_, nullptr)), page_(other.page_), key_(other.key_), sum_(other.sum_) {}
    pin& operator=(pin&& other) noexcept {
      std::swap(book_, other.book_);
      std::swap(page_, other.page_);
      std::swap(key_, other.key_);
      std::swap(sum_, other.sum_);
      return *this;
    }
    ~pin() {
      if (book_ != nullptr) book_->unpin(page_);
    }
    page_index page() const noexcept { return page_; }
    page_key key() const noexcept { return key_; }
    std::uint64_t checksum() const noexcept { return sum_; }

   private:
    friend class page_book;
    pin(const page_book* book, page_index page, page_key key, std::uint64_t sum)
        : book_(book), page_(page), key_(key), sum_(sum) {}
    const page_book* book_ = nullptr;
    page_index page_ = 0;
    page_key key_{};
    std::uint64_t sum_ = 0;
  };

  explicit page_book(std::uint32_t pages);
  std::uint32_t capacity() const noexcept { return static_cast<std::uint32_t>(pages_.size()); }
  std::uint32_t spare() const noexcept;

  // spare -> filling: what keeps nothing, else what was given back first. Errors: does_not_fit.
  result<page_index> take();
  std::optional<page_index> take_kept(page_key key);              // spare -> resident, if one still holds `key`
  status check_filling(page_index page, const char* what) const;  // Errors: invalid_argument
  // filling -> resident; the caller has verified the bytes. Errors: invalid_argument.
  status publish(page_index page, page_key key, std::uint64_t sum);
  void give_back(page_index page);  // -> spare, which keeps what was resident; no effect on a spare page
  void discard(page_index page);    // -> spare, which keeps nothing

  std::optional<page_index> find(page_key key) const;
  std::optional<std::uint64_t> checksum_of(page_key key) const;
  std::uint64_t checksum(page_index page) const;  // 0: not resident
  bool holds(page_index page, page_key key) const;

  result<pin> hold(page_index page, const char* what) const;  // Errors: invalid_argument
  // The page that holds `key`, if its checksum is `sum` (none: any). Errors: not_found.
  result<pin> hold(page_key key, std::optional<std::uint64_t> sum) const;

 private:
  static constexpr page_index none = ~page_index{0};
  enum class page_state : std::uint8_t { spare, filling, resident };
  struct entry {
    page_state state = page_state::spare;
    bool keyed = false;  // resident, or spare and kept: `key` and `checksum` say what it holds
    page_key key{};
    std::uint64_t checksum = 0;
    page_index next = none;  // in its key's chain
    mutable std::uint32_t pins = 0;
    std::list<page_index>::iterator place;  // in empty_, kept_ or used_
  };
  void unpin(page_index page) const noexcept;
  status check_state(page_index page, page_state wanted, const char* what) const;
  pin pinned(page_index page) const;
  std::optional<page_index> pick_spare() const;
  std::size_t chain_of(page_key key) const noexcept;
  std::optional<page_index> find(page_key key, page_state wanted) const;
  void remember(page_index page, page_key key, std::uint64_t sum);
  void forget(page_index page);
  void make_spare(page_index page, bool keep);

  mutable std::mutex mutex_;
  mutable std::condition_variable unpinned_;
  std::vector<entry> pages_;  // its entries guarded by mutex_, as all below
  // Every page is in one of these lists. Nothing is allocated after the start: steps wait while hundreds of pages are
  // given back.
  std::list<page_index> empty_;     // spare pages that keep nothing: a stack
  std::list<page_index> kept_;      // the other ones, in the order in which they were given back
  std::list<page_index> used_;      // filling or resident
  std::vector<page_index> chains_;  // [hash of a key] the first page that holds or keeps such a key
};

}  // namespace ballast::gpu
