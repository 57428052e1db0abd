#include "gpu/page_book.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace ballast::gpu {

page_book::page_book(std::uint32_t pages) : pages_(pages), chains_(std::bit_ceil(std::max(pages, 2u)), none) {
  for (auto page = pages; page > 0; --page) pages_[page - 1].place = empty_.insert(empty_.end(), page - 1);
}

std::uint32_t page_book::spare() const noexcept {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(empty_.size() + kept_.size());
}

void page_book::unpin(page_index page) const noexcept {
  const std::lock_guard lock(mutex_);
  if (--pages_[page].pins == 0) unpinned_.notify_all();
}

page_book::pin page_book::pinned(page_index page) const {
  const auto& e = pages_[page];
  ++e.pins;
  return {this, page, e.key, e.checksum};
}

status page_book::check_state(page_index page, page_state wanted, const char* what) const {
  if (page >= pages_.size())
    return fail(errc::invalid_argument, fmt::format("{}: page {} of a pool of {}", what, page, pages_.size()));
  if (pages_[page].state == wanted) return {};
  constexpr const char* names[] = {"spare", "filling", "resident"};
  return fail(errc::invalid_argument,
              fmt::format("{}: page {} is {}, it must be {}", what, page, names[static_cast<int>(pages_[page].state)],
                          names[static_cast<int>(wanted)]));
}

// Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4), to the highest bits.
std::size_t page_book::chain_of(page_key key) const noexcept {
  const auto mixed = (std::uint64_t{key.layer} << 32 | key.expert) * 0x9e3779b97f4a7c15ull;
  return mixed >> (65 - std::bit_width(chains_.size()));
}

std::optional<page_index> page_book::find(page_key key, page_state wanted) const {
  for (auto page = chains_[chain_of(key)]; page != none; page = pages_[page].next)
    if (pages_[page].state == wanted && pages_[page].key == key) return page;
  return std::nullopt;
}

void page_book::remember(page_index page, page_key key, std::uint64_t sum) {
  auto& e = pages_[page];
  e.keyed = true;
  e.key = key;
  e.checksum = sum;
  e.next = std::exchange(chains_[chain_of(key)], page);
}

void page_book::forget(page_index page) {
  auto& e = pages_[page];
  if (!std::exchange(e.keyed, false)) return;
  auto* link = &chains_[chain_of(e.key)];
  while (*link != page) link = &pages_[*link].next;
  *link = e.next;
}

// One whose bytes nobody reads any more.
std::optional<page_index> page_book::pick_spare() const {
  const auto unread = [&](page_index p) { return pages_[p].pins == 0; };
  if (const auto it = std::find_if(empty_.rbegin(), empty_.rend(), unread); it != empty_.rend()) return *it;
  if (const auto it = std::find_if(kept_.begin(), kept_.end(), unread); it != kept_.end()) return *it;
  return std::nullopt;
}

result<page_index> page_book::take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (empty_.empty() && kept_.empty())
      return fail(errc::does_not_fit,
                  fmt::format("no spare page among {}: reclaim one, or configure more spare_pages", pages_.size()));
    if (const auto page = pick_spare()) {
      auto& e = pages_[*page];
      used_.splice(used_.end(), e.keyed ? kept_ : empty_, e.place);
      forget(*page);
      e.state = page_state::filling;
      return *page;
    }
    unpinned_.wait(lock);
  }
}

std::optional<page_index> page_book::take_kept(page_key key) {
  const std::lock_guard lock(mutex_);
  const auto page = find(key, page_state::spare);
  if (!page) return std::nullopt;
  auto& e = pages_[*page];
  used_.splice(used_.end(), kept_, e.place);
  e.state = page_state::resident;
  return page;
}

status page_book::check_filling(page_index page, const char* what) const {
  const std::lock_guard lock(mutex_);
  return check_state(page, page_state::filling, what);
}

status page_book::publish(page_index page, page_key key, std::uint64_t sum) {
  const std::lock_guard lock(mutex_);
  if (auto ok = check_state(page, page_state::filling, "seal"); !ok) return ok;
  pages_[page].state = page_state::resident;
  remember(page, key, sum);
  return {};
}

void page_book::make_spare(page_index page, bool keep) {
  const std::lock_guard lock(mutex_);
  if (page >= pages_.size() || pages_[page].state == page_state::spare) return;
  auto& e = pages_[page];
  e.state = page_state::spare;
  if (!keep) forget(page);
  auto& to = e.keyed ? kept_ : empty_;
  to.splice(to.end(), used_, e.place);
}

void page_book::give_back(page_index page) { make_spare(page, true); }
void page_book::discard(page_index page) { make_spare(page, false); }

std::optional<page_index> page_book::find(page_key key) const {
  const std::lock_guard lock(mutex_);
  return find(key, page_state::resident);
}

std::optional<std::uint64_t> page_book::checksum_of(page_key key) const {
  const std::lock_guard lock(mutex_);
  const auto page = find(key, page_state::resident);
  if (!page) return std::nullopt;
  return pages_[*page].checksum;
}

std::uint64_t page_book::checksum(page_index page) const {
  const std::lock_guard lock(mutex_);
  return check_state(page, page_state::resident, "checksum") ? pages_[page].checksum : 0;
}

bool page_book::holds(page_index page, page_key key) const {
  const std::lock_guard lock(mutex_);
  return page < pages_.size() && pages_[page].state == page_state::resident && pages_[page].key == key;
}

result<page_book::pin> page_book::hold(page_index page, const char* what) const {
  const std::lock_guard lock(mutex_);
  if (auto ok = check_state(page, page_state::resident, what); !ok) return fail(std::move(ok.error()));
  return pinned(page);
}

result<page_book::pin> page_book::hold(page_key key, std::optional<std::uint64_t> sum) const {
  const std::lock_guard lock(mutex_);
  const auto page = find(key, page_state::resident);
  if (!page || (sum && pages_[*page].checksum != *sum))
    return fail(errc::not_found, fmt::format("no page holds layer {} expert {} any more", key.layer, key.expert));
  return pinned(*page);
}

}  // namespace ballast::gpu
