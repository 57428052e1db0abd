#include "gpu/page_book.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace ballast::gpu {

page_book::page_book(std::uint32_t pages) : pages_(pages) {
  for (auto page = pages; page > 0; --page) spare_.push_back(page - 1);
}

std::uint32_t page_book::spare() const noexcept {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(spare_.size());
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

result<page_index> page_book::take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (spare_.empty())
      return fail(errc::does_not_fit,
                  fmt::format("no spare page among {}: reclaim one, or configure more spare_pages", pages_.size()));
    const auto free = std::find_if(spare_.rbegin(), spare_.rend(), [&](page_index p) { return pages_[p].pins == 0; });
    if (free != spare_.rend()) {
      const auto page = *free;
      spare_.erase(std::next(free).base());
      pages_[page].state = page_state::filling;
      return page;
    }
    unpinned_.wait(lock);
  }
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

void page_book::give_back(page_index page) {
  const std::lock_guard lock(mutex_);
  if (page >= pages_.size() || pages_[page].state == page_state::spare) return;
  auto& e = pages_[page];
  if (e.state == page_state::resident) {
    const auto [first, last] = by_key_.equal_range(e.key);
    const auto it = std::find_if(first, last, [&](const auto& held) { return held.second == page; });
    if (it != last) by_key_.erase(it);
  }
  e.state = page_state::spare;
  spare_.push_back(page);
}

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
