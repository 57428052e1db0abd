#include <fmt/core.h>

#include <algorithm>

#include "gpu/cuda/cuda_pool_impl.hpp"
#include "messages/log.hpp"

namespace ballast::gpu::cuda {
namespace {

constexpr std::size_t page_alignment = 256;
constexpr std::size_t longest_chunk = std::size_t{4} << 20;
// Smaller allocations share a block with others, and a block is exported as a whole.
constexpr std::size_t block_bytes = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

status compare(const page_book::pin& held, std::uint64_t sum) {
  if (sum == held.checksum()) return {};
  return fail(errc::corrupt, fmt::format("page {} of layer {} expert {}: checksum {:016x}, was sealed as {:016x}",
                                         held.page(), held.key().layer, held.key().expert, sum, held.checksum()));
}

}  // namespace

cuda_page_pool::cuda_page_pool(int ordinal, std::size_t page_size, std::uint32_t pages)
    : ordinal_(ordinal), page_bytes_(page_size), stride_(round_up(page_size, page_alignment)), book_(pages) {}

result<std::unique_ptr<cuda_page_pool>> cuda_page_pool::make(int ordinal, std::size_t page_bytes, std::uint32_t pages) {
  if (page_bytes == 0) return fail(errc::invalid_argument, "a pool of pages without bytes");
  if (auto ok = stand_on(ordinal); !ok) return fail(ok.error());
  std::unique_ptr<cuda_page_pool> made(new cuda_page_pool(ordinal, page_bytes, pages));
  if (auto ok = made->allocate(pages); !ok) return fail(ok.error());
  return made;
}

status cuda_page_pool::allocate(std::uint32_t pages) {
  const auto bytes = round_up(std::max<std::size_t>(stride_ * pages, 1), block_bytes);
  auto room = memory::make(memory_kind::device, bytes, "the page pool; lower slots_per_layer or spare_pages");
  if (!room) return fail(room.error());
  pages_ = std::move(*room);
  cudaIpcMemHandle_t handle;
  if (const auto code = cudaIpcGetMemHandle(&handle, pages_.data()); code == cudaSuccess) {
    handle_ = handle;
  } else {
    (void)cudaGetLastError();
    log::warn("pages of GPU {} cannot be mapped by other processes, which will pull them as messages: {}", ordinal_,
              cudaGetErrorString(code));
  }
  const auto chunk = std::min(longest_chunk, stride_);
  std::vector<staging*> rooms{&out_};
  for (auto& s : in_) rooms.push_back(&s);
  for (auto* s : rooms) {
    auto made = staging::make(chunk);
    if (!made) return fail(made.error());
    *s = std::move(*made);
  }
  auto parts =
      memory::make(memory_kind::pinned, checksum_batch::most * checksum_parts * sizeof(std::uint64_t), "checksums");
  if (!parts) return fail(parts.error());
  sum_parts_ = std::move(*parts);
  auto sums = stream::make(false);
  if (!sums) return fail(sums.error());
  sums_ = std::move(*sums);
  if (pages == 0) return {};
  // The first launch of a kernel loads it, which takes milliseconds: now, not in the first pull.
  if (auto ok = check(cudaMemsetAsync(at(0), 0, page_bytes_, sums_.get()), "clearing a page"); !ok) return ok;
  const auto sum = sum_of(0);
  return sum ? status{} : fail(sum.error());
}

status cuda_page_pool::write(page_index page, std::span<const std::byte> bundle) {
  if (bundle.size() != page_bytes_)
    return fail(errc::invalid_argument, fmt::format("write: {} bytes into a page of {}", bundle.size(), page_bytes_));
  return write_at(page, 0, bundle);
}

status cuda_page_pool::write_at(page_index page, std::size_t offset, std::span<const std::byte> piece) {
  if (auto ok = book_.check_filling(page, "write"); !ok) return ok;
  if (offset > page_bytes_ || piece.size() > page_bytes_ - offset)
    return fail(errc::invalid_argument,
                fmt::format("write: bytes {} to {} of a page of {}", offset, offset + piece.size(), page_bytes_));
  if (auto ok = stand_on(ordinal_); !ok) return ok;
  return in_[turn_++ % in_.size()].to_device(at(page) + offset, piece);
}

// As many pages in a launch as a batch holds: one page alone does not keep a GPU's memory busy.
result<std::vector<std::uint64_t>> cuda_page_pool::sums_of(std::span<const page_index> pages) const {
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  std::vector<std::uint64_t> sums;
  const std::lock_guard lock(sum_mutex_);
  const auto* parts = sum_parts_.as<std::uint64_t>();
  while (sums.size() < pages.size()) {
    const auto rest = pages.subspan(sums.size());
    checksum_batch some;
    for (; some.count < std::min<std::size_t>(rest.size(), checksum_batch::most); ++some.count)
      some.at[some.count] = at(rest[some.count]);
    const auto code = sum_pages(some, page_bytes_, sum_parts_.as<std::uint64_t>(), sums_.get());
    if (auto ok = check(code, "computing checksums"); !ok) return fail(ok.error());
    if (auto ok = sums_.wait(); !ok) return fail(ok.error());
    for (std::uint32_t i = 0; i < some.count; ++i) sums.push_back(total_of(parts + i * checksum_parts, page_bytes_));
  }
  return sums;
}

result<std::uint64_t> cuda_page_pool::sum_of(page_index page) const {
  const auto sums = sums_of({&page, 1});
  if (!sums) return fail(sums.error());
  return sums->front();
}

status cuda_page_pool::seal(page_index page, page_key key, std::optional<std::uint64_t> expected) {
  if (auto ok = book_.check_filling(page, "seal"); !ok) return ok;
  const auto sum = sum_of(page);
  if (!sum) return fail(sum.error());
  if (expected && *expected != *sum)
    return fail(errc::corrupt, fmt::format("page {} for layer {} expert {}: checksum {:016x}, expected {:016x}", page,
                                           key.layer, key.expert, *sum, *expected));
  return book_.publish(page, key, *sum);
}

std::vector<status> cuda_page_pool::verify_each(std::span<const page_index> pages) const {
  std::vector<status> out(pages.size());
  std::vector<page_book::pin> held;
  std::vector<std::size_t> which;  // [held] its place in `pages`
  std::vector<page_index> resident;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    auto pin = book_.hold(pages[i], "verify");
    if (!pin) {
      out[i] = fail(pin.error());
      continue;
    }
    held.push_back(std::move(*pin));
    which.push_back(i);
    resident.push_back(pages[i]);
  }
  const auto sums = sums_of(resident);
  for (std::size_t n = 0; n < held.size(); ++n)
    out[which[n]] = sums ? compare(held[n], (*sums)[n]) : fail(sums.error());
  return out;
}

result<std::size_t> cuda_page_pool::read(page_index page, std::span<std::byte> out) const {
  const auto held = book_.hold(page, "read");
  if (!held) return fail(held.error());
  if (out.size() < page_bytes_)
    return fail(errc::invalid_argument, fmt::format("read: room for {} bytes of {}", out.size(), page_bytes_));
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  if (auto ok = out_.to_host(out.first(page_bytes_), at(page)); !ok) return fail(ok.error());
  return page_bytes_;
}

status cuda_page_pool::read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const {
  if (offset > page_bytes_ || out.size() > page_bytes_ - offset)
    return fail(errc::invalid_argument,
                fmt::format("bytes {} to {} of a page of {}", offset, offset + out.size(), page_bytes_));
  const auto held = book_.hold(key, sum);
  if (!held) return fail(held.error());
  if (auto ok = stand_on(ordinal_); !ok) return ok;
  return out_.to_host(out, at(held->page()) + offset);
}

}  // namespace ballast::gpu::cuda
