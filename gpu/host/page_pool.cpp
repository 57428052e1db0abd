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

host_page_pool::host_page_pool(std::size_t page_size, std::uint32_t pages)
    : page_bytes_(page_size),
      memory_(static_cast<std::byte*>(::operator new(page_size* std::max<std::size_t>(pages, 1), page_alignment))),
      book_(pages) {}

status host_page_pool::write(page_index page, std::span<const std::byte> bundle) {
  if (bundle.size() != page_bytes_)
    return fail(errc::invalid_argument, fmt::format("write: {} bytes into a page of {}", bundle.size(), page_bytes_));
  return write_at(page, 0, bundle);
}

status host_page_pool::write_at(page_index page, std::size_t offset, std::span<const std::byte> piece) {
  if (auto ok = book_.check_filling(page, "write"); !ok) return ok;
  if (offset > page_bytes_ || piece.size() > page_bytes_ - offset)
    return fail(errc::invalid_argument,
                fmt::format("write: bytes {} to {} of a page of {}", offset, offset + piece.size(), page_bytes_));
  if (!piece.empty()) std::memcpy(raw(page) + offset, piece.data(), piece.size());
  return {};
}

status host_page_pool::seal(page_index page, page_key key, std::optional<std::uint64_t> expected) {
  if (auto ok = book_.check_filling(page, "seal"); !ok) return ok;
  const auto sum = checksum_of(bytes(page));
  if (expected && *expected != sum)
    return fail(errc::corrupt, fmt::format("page {} for layer {} expert {}: checksum {:016x}, expected {:016x}", page,
                                           key.layer, key.expert, sum, *expected));
  return book_.publish(page, key, sum);
}

std::vector<status> host_page_pool::verify_each(std::span<const page_index> pages) const {
  std::vector<status> out;
  for (const auto page : pages) out.push_back(verify_one(page));
  return out;
}

status host_page_pool::verify_one(page_index page) const {
  const auto held = book_.hold(page, "verify");
  if (!held) return fail(held.error());
  const auto sum = checksum_of(bytes(page));
  if (sum == held->checksum()) return {};
  return fail(errc::corrupt, fmt::format("page {} of layer {} expert {}: checksum {:016x}, was sealed as {:016x}", page,
                                         held->key().layer, held->key().expert, sum, held->checksum()));
}

result<std::size_t> host_page_pool::read(page_index page, std::span<std::byte> out) const {
  const auto held = book_.hold(page, "read");
  if (!held) return fail(held.error());
  if (out.size() < page_bytes_)
    return fail(errc::invalid_argument, fmt::format("read: room for {} bytes of {}", out.size(), page_bytes_));
  std::memcpy(out.data(), bytes(page).data(), page_bytes_);
  return page_bytes_;
}

status host_page_pool::read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const {
  if (offset > page_bytes_ || out.size() > page_bytes_ - offset)
    return fail(errc::invalid_argument,
                fmt::format("bytes {} to {} of a page of {}", offset, offset + out.size(), page_bytes_));
  const auto held = book_.hold(key, sum);
  if (!held) return fail(held.error());
  std::memcpy(out.data(), bytes(held->page()).data() + offset, out.size());
  return {};
}

}  // namespace ballast::gpu::host
