#include "gpu/host/page_pool.hpp"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace ballast::gpu::host {
namespace {
constexpr std::align_val_t page_alignment{64};
}

std::uint64_t checksum_of(std::span<const std::byte> bytes) noexcept { return XXH3_64bits(bytes.data(), bytes.size()); }

void host_page_pool::aligned_delete::operator()(std::byte* p) const noexcept { ::operator delete(p, page_alignment); }

// Holds a resident page in place while its bytes are read without the lock.
class host_page_pool::pin {
 public:
  pin(const host_page_pool& pool, page_index page) : pool_(pool), page_(page) { ++pool_.pages_[page_].pins; }
  ~pin() {
    const std::lock_guard lock(pool_.mutex_);
    if (--pool_.pages_[page_].pins == 0) pool_.unpinned_.notify_all();
  }
  pin(const pin&) = delete;
  pin& operator=(const pin&) = delete;

 private:
  const host_page_pool& pool_;
  page_index page_;
};

host_page_pool::host_page_pool(std::size_t page_size, std::uint32_t pages)
    : page_bytes_(page_size),
      memory_(static_cast<std::byte*>(::operator new(page_size* std::max<std::size_t>(pages, 1), page_alignment))),
      pages_(pages) {
  for (auto page = pages; page > 0; --page) spare_.push_back(page - 1);
}

std::uint32_t host_page_pool::spare() const noexcept {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(spare_.size());
}

status host_page_pool::check_state(page_index page, page_state wanted, const char* what) const {
  if (page >= pages_.size())
    return fail(errc::invalid_argument, fmt::format("{}: page {} of a pool of {}", what, page, pages_.size()));
  if (pages_[page].state == wanted) return {};
  constexpr const char* names[] = {"spare", "filling", "resident"};
  return fail(errc::invalid_argument,
              fmt::format("{}: page {} is {}, it must be {}", what, page, names[static_cast<int>(pages_[page].state)],
                          names[static_cast<int>(wanted)]));
}

result<page_index> host_page_pool::take() {
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

status host_page_pool::write(page_index page, std::span<const std::byte> bundle) {
  if (bundle.size() != page_bytes_)
    return fail(errc::invalid_argument, fmt::format("write: {} bytes into a page of {}", bundle.size(), page_bytes_));
  return write_at(page, 0, bundle);
}

status host_page_pool::write_at(page_index page, std::size_t offset, std::span<const std::byte> piece) {
  {
    const std::lock_guard lock(mutex_);
    if (auto ok = check_state(page, page_state::filling, "write"); !ok) return ok;
  }
  if (offset > page_bytes_ || piece.size() > page_bytes_ - offset)
    return fail(errc::invalid_argument,
                fmt::format("write: bytes {} to {} of a page of {}", offset, offset + piece.size(), page_bytes_));
  if (!piece.empty()) std::memcpy(raw(page) + offset, piece.data(), piece.size());
  return {};
}

status host_page_pool::seal(page_index page, page_key key, std::optional<std::uint64_t> expected) {
  {
    const std::lock_guard lock(mutex_);
    if (auto ok = check_state(page, page_state::filling, "seal"); !ok) return ok;
  }
  const auto sum = checksum_of(bytes(page));
  if (expected && *expected != sum)
    return fail(errc::corrupt, fmt::format("page {} for layer {} expert {}: checksum {:016x}, expected {:016x}", page,
                                           key.layer, key.expert, sum, *expected));
  const std::lock_guard lock(mutex_);
  pages_[page].state = page_state::resident;
  pages_[page].key = key;
  pages_[page].checksum = sum;
  by_key_.emplace(key, page);
  return {};
}

std::optional<page_index> host_page_pool::find(page_key key) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  return it->second;
}

std::uint64_t host_page_pool::checksum(page_index page) const {
  const std::lock_guard lock(mutex_);
  return check_state(page, page_state::resident, "checksum") ? pages_[page].checksum : 0;
}

std::optional<std::uint64_t> host_page_pool::checksum_of_key(page_key key) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  return pages_[it->second].checksum;
}

status host_page_pool::verify(page_index page) const {
  std::unique_lock lock(mutex_);
  if (auto ok = check_state(page, page_state::resident, "verify"); !ok) return ok;
  const auto entry_copy = pages_[page];
  const pin held(*this, page);
  lock.unlock();
  const auto sum = checksum_of(bytes(page));
  if (sum == entry_copy.checksum) return {};
  return fail(errc::corrupt, fmt::format("page {} of layer {} expert {}: checksum {:016x}, was sealed as {:016x}", page,
                                         entry_copy.key.layer, entry_copy.key.expert, sum, entry_copy.checksum));
}

result<std::size_t> host_page_pool::read(page_index page, std::span<std::byte> out) const {
  std::unique_lock lock(mutex_);
  if (auto ok = check_state(page, page_state::resident, "read"); !ok) return fail(std::move(ok.error()));
  if (out.size() < page_bytes_)
    return fail(errc::invalid_argument, fmt::format("read: room for {} bytes of {}", out.size(), page_bytes_));
  const pin held(*this, page);
  lock.unlock();
  std::memcpy(out.data(), bytes(page).data(), page_bytes_);
  return page_bytes_;
}

status host_page_pool::read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const {
  if (offset > page_bytes_ || out.size() > page_bytes_ - offset)
    return fail(errc::invalid_argument,
                fmt::format("bytes {} to {} of a page of {}", offset, offset + out.size(), page_bytes_));
  std::unique_lock lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end() || pages_[it->second].checksum != sum)
    return fail(errc::not_found, fmt::format("no page holds layer {} expert {} any more", key.layer, key.expert));
  const auto page = it->second;
  const pin held(*this, page);
  lock.unlock();
  std::memcpy(out.data(), bytes(page).data() + offset, out.size());
  return {};
}

void host_page_pool::give_back(page_index page) {
  const std::lock_guard lock(mutex_);
  if (page >= pages_.size() || pages_[page].state == page_state::spare) return;
  auto& e = pages_[page];
  if (e.state == page_state::resident) {
    const auto [first, last] = by_key_.equal_range(e.key);
    for (auto it = first; it != last; ++it)
      if (it->second == page) {
        by_key_.erase(it);
        break;
      }
  }
  e.state = page_state::spare;
  spare_.push_back(page);
}

const std::byte* host_page_pool::resident(page_index page, page_key key) const {
  const std::lock_guard lock(mutex_);
  if (page >= pages_.size() || pages_[page].state != page_state::resident || pages_[page].key != key) return nullptr;
  return bytes(page).data();
}

}  // namespace ballast::gpu::host
