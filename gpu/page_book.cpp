#include "gpu/page_book.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace ballast::gpu {
namespace {

void erase(std::multimap<page_key, page_index>& from, page_key key, page_index page) {
  const auto [first, last] = from.equal_range(key);
  const auto it = std::find_if(first, last, [&](const auto& held) { return held.second == page; });
  if (it != last) from.erase(it);
}

}  // namespace

page_book::page_book(std::uint32_t pages) : pages_(pages) {
  for (auto page = pages; page > 0; --page) empty_.push_back(page - 1);
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

void page_book::keep_no_more(page_index page) {
  auto& e = pages_[page];
  kept_.erase(std::exchange(e.turn, 0));
  erase(kept_by_key_, e.key, page);
}

// Takes one out whose bytes nobody reads any more.
std::optional<page_index> page_book::pick_spare() {
  const auto unread = [&](page_index p) { return pages_[p].pins == 0; };
  if (const auto it = std::find_if(empty_.rbegin(), empty_.rend(), unread); it != empty_.rend()) {
    const auto page = *it;
    empty_.erase(std::next(it).base());
    return page;
  }
  const auto oldest = std::find_if(kept_.begin(), kept_.end(), [&](const auto& one) { return unread(one.second); });
  if (oldest == kept_.end()) return std::nullopt;
  const auto page = oldest->second;
  keep_no_more(page);
  return page;
}

result<page_index> page_book::take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (empty_.empty() && kept_.empty())
      return fail(errc::does_not_fit,
                  fmt::format("no spare page among {}: reclaim one, or configure more spare_pages", pages_.size()));
    if (const auto page = pick_spare()) {
      pages_[*page].state = page_state::filling;
      return *page;
    }
    unpinned_.wait(lock);
  }
}

std::optional<page_index> page_book::take_kept(page_key key) {
  const std::lock_guard lock(mutex_);
  const auto it = kept_by_key_.find(key);
  if (it == kept_by_key_.end()) return std::nullopt;
  const auto page = it->second;
  keep_no_more(page);
  pages_[page].state = page_state::resident;
  by_key_.emplace(key, page);
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
  pages_[page].key = key;
  pages_[page].checksum = sum;
  by_key_.emplace(key, page);
  return {};
}

void page_book::make_spare(page_index page, bool keep) {
  const std::lock_guard lock(mutex_);
  if (page >= pages_.size() || pages_[page].state == page_state::spare) return;
  auto& e = pages_[page];
  const bool held = std::exchange(e.state, page_state::spare) == page_state::resident;
  if (held) erase(by_key_, e.key, page);
  if (!held || !keep) return empty_.push_back(page);
  e.turn = ++turns_;
  kept_.emplace(e.turn, page);
  kept_by_key_.emplace(e.key, page);
}

void page_book::give_back(page_index page) { make_spare(page, true); }
void page_book::discard(page_index page) { make_spare(page, false); }

std::optional<page_index> page_book::find(page_key key) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  return it->second;
}

std::optional<std::uint64_t> page_book::checksum_of(page_key key) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  return pages_[it->second].checksum;
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
  const auto it = by_key_.find(key);
  if (it == by_key_.end() || (sum && pages_[it->second].checksum != *sum))
    return fail(errc::not_found, fmt::format("no page holds layer {} expert {} any more", key.layer, key.expert));
  return pinned(it->second);
}

}  // namespace ballast::gpu
