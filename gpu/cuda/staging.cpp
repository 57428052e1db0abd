#include <algorithm>
#include <cstring>

#include "gpu/cuda/staging_impl.hpp"

namespace ballast::gpu::cuda {

result<staging> staging::make(std::size_t chunk_bytes) {
  staging made;
  made.chunk_ = chunk_bytes;
  for (auto& h : made.halves_) {
    auto room = memory::make(memory_kind::pinned, chunk_bytes, "a staging buffer");
    if (!room) return fail(room.error());
    h.room = std::move(*room);
    auto arrived = event::make_blocking();
    if (!arrived) return fail(arrived.error());
    h.arrived = std::move(*arrived);
  }
  auto copies = stream::make(false);
  if (!copies) return fail(copies.error());
  made.copies_ = std::move(*copies);
  return made;
}

status staging::to_device(std::byte* to, std::span<const std::byte> from) {
  const std::lock_guard lock(*mutex_);
  auto filled = fill(to, from);
  auto arrived = copies_.wait();
  return filled ? arrived : filled;
}

status staging::to_host(std::span<std::byte> to, const std::byte* from) {
  const std::lock_guard lock(*mutex_);
  auto drained = drain(to, from);
  if (!drained) (void)copies_.wait();
  return drained;
}

status staging::fill(std::byte* to, std::span<const std::byte> from) {
  for (std::size_t at = 0, turn = 0; at < from.size(); at += chunk_, turn = 1 - turn) {
    auto& h = halves_[turn];
    const auto bytes = std::min(chunk_, from.size() - at);
    if (auto ok = h.arrived.wait(); !ok) return ok;
    std::memcpy(h.room.data(), from.data() + at, bytes);
    const auto code = cudaMemcpyAsync(to + at, h.room.data(), bytes, cudaMemcpyHostToDevice, copies_.get());
    if (auto ok = check(code, "copying to the GPU"); !ok) return ok;
    if (auto ok = h.arrived.record(copies_); !ok) return ok;
  }
  return {};
}

status staging::drain(std::span<std::byte> to, const std::byte* from) {
  const auto issue = [&](std::size_t at) -> status {
    auto& h = halves_[at / chunk_ % 2];
    const auto code = cudaMemcpyAsync(h.room.data(), from + at, std::min(chunk_, to.size() - at),
                                      cudaMemcpyDeviceToHost, copies_.get());
    if (auto ok = check(code, "copying from the GPU"); !ok) return ok;
    return h.arrived.record(copies_);
  };
  for (std::size_t at = 0; at < to.size() && at < 2 * chunk_; at += chunk_)
    if (auto ok = issue(at); !ok) return ok;
  for (std::size_t at = 0; at < to.size(); at += chunk_) {
    auto& h = halves_[at / chunk_ % 2];
    if (auto ok = h.arrived.wait(); !ok) return ok;
    std::memcpy(to.data() + at, h.room.data(), std::min(chunk_, to.size() - at));
    if (const auto next = at + 2 * chunk_; next < to.size())
      if (auto ok = issue(next); !ok) return ok;
  }
  return {};
}

}  // namespace ballast::gpu::cuda
