#include <fmt/core.h>

#include "gpu/cuda/exchange_impl.hpp"

namespace ballast::gpu::cuda {

mapping::~mapping() {
  if (foreign_) log_failure(cudaIpcCloseMemHandle(base_), "unmapping a peer's memory");
}

result<std::unique_ptr<exchange_memory>> exchange_memory::make(int ordinal, const exchange_shape& shape) {
  std::unique_ptr<exchange_memory> made(new exchange_memory(ordinal, shape));
  auto device = memory::make(memory_kind::device, lanes * shape.lane_bytes(), "exchange buffers");
  if (!device) return fail(device.error());
  auto stops = memory::make(memory_kind::pinned, lanes * stop_stride, "stop words");
  if (!stops) return fail(stops.error());
  auto clearing = stream::make(false);
  if (!clearing) return fail(clearing.error());
  made->memory_ = std::move(*device);
  made->stops_ = std::move(*stops);
  made->stream_ = std::move(*clearing);
  auto gpu = name_of_gpu(ordinal);
  if (!gpu) return fail(gpu.error());
  made->gpu_ = *gpu;
  if (auto ok = check(cudaIpcGetMemHandle(&made->handle_, made->memory_.data()), "exporting exchange buffers"); !ok)
    return fail(ok.error());
  // Rows that nobody has sent yet are multiplied by zero weights at the end of a matrix: they must be numbers.
  if (auto ok = check(cudaMemset(made->memory_.data(), 0, made->memory_.size()), "clearing exchange buffers"); !ok)
    return fail(ok.error());
  return made;
}

result<std::uint32_t> exchange_memory::take() {
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  const std::lock_guard lock(mutex_);
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    if (taken_[lane]) continue;
    auto* flags = memory_.data() + lane * shape_.lane_bytes() + shape_.flags_offset();
    const auto bytes = signal_kinds * max_members * sizeof(std::uint64_t);
    if (auto ok = check(cudaMemsetAsync(flags, 0, bytes, stream_.get()), "clearing signals"); !ok)
      return fail(ok.error());
    if (auto ok = stream_.wait(); !ok) return fail(ok.error());
    *stops_.as<std::uint32_t>(lane * stop_stride) = 0;
    taken_[lane] = true;
    return lane;
  }
  return fail(errc::does_not_fit, fmt::format("{} communicators are open on GPU {}; close one first", lanes, ordinal_));
}

void exchange_memory::give_back(std::uint32_t lane) {
  const std::lock_guard lock(mutex_);
  taken_.at(lane) = false;
}

exchange_half exchange_memory::half(std::uint32_t lane, exchange_kind wish) const {
  return {this_process(), ordinal_, lane, reinterpret_cast<std::uint64_t>(memory_.data()), handle_, shape_, gpu_, wish};
}

result<std::shared_ptr<mapping>> exchange_memory::map(const exchange_half& peer) {
  if (auto ok = check_alike(shape_, peer.shape); !ok) return fail(ok.error());
  if (peer.lane >= lanes) return fail(errc::malformed, fmt::format("a peer named lane {} of {}", peer.lane, lanes));
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  const auto self = this_process();
  if (peer.process.same_process(self)) {
    if (auto ok = reach(ordinal_, peer.ordinal); !ok) return fail(ok.error());
    return std::make_shared<mapping>(reinterpret_cast<std::byte*>(peer.base), false);
  }
  if (!peer.process.same_host(self))
    return fail(
        errc::unavailable,
        "a member is on another host: its memory cannot be mapped; set exchange = \"auto\" or \"nccl\" on all agents");
  const std::lock_guard lock(mutex_);
  auto& known = mappings_[{peer.process.process, peer.process.pid, peer.base}];
  if (auto alive = known.lock()) return alive;
  void* at = nullptr;
  const auto code = cudaIpcOpenMemHandle(&at, peer.handle, cudaIpcMemLazyEnablePeerAccess);
  if (code != cudaSuccess) {
    (void)cudaGetLastError();
    return fail(errc::unavailable,
                fmt::format("the memory of a peer process cannot be mapped: {}; set exchange = \"nccl\" on all agents",
                            cudaGetErrorName(code)));
  }
  auto made = std::make_shared<mapping>(static_cast<std::byte*>(at), true);
  known = made;
  return made;
}

member_view exchange_memory::view(std::byte* base, const exchange_shape& shape, std::uint32_t lane) noexcept {
  auto* at = base + lane * shape.lane_bytes();
  return {reinterpret_cast<std::uint16_t*>(at), reinterpret_cast<pick*>(at + shape.picks_offset()),
          reinterpret_cast<float*>(at + shape.answers_offset()),
          reinterpret_cast<std::uint64_t*>(at + shape.flags_offset())};
}

}  // namespace ballast::gpu::cuda
