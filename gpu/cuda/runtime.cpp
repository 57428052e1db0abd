#include <fmt/core.h>

#include <cstdlib>

#include "gpu/cuda/runtime_impl.hpp"
#include "messages/log.hpp"

namespace ballast::gpu::cuda {

status check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return {};
  const auto kind = code == cudaErrorMemoryAllocation ? errc::does_not_fit : errc::io;
  return fail(kind, fmt::format("{}: {}: {}", what, cudaGetErrorName(code), cudaGetErrorString(code)));
}

void log_failure(cudaError_t code, const char* what) noexcept {
  if (code == cudaSuccess || code == cudaErrorCudartUnloading) return;
  log::warn("{}: {}: {}", what, cudaGetErrorName(code), cudaGetErrorString(code));
}

status stand_on(int ordinal) { return check(cudaSetDevice(ordinal), "choosing a GPU"); }

// The driver reads these when the process first uses it. A waiting kernel of one rank must not stand before another
// rank's work in one hardware queue; and loading a kernel when it is first needed may wait for kernels that wait for
// peers.
result<int> device_count() {
  ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  ::setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  int count = 0;
  if (auto ok = check(cudaGetDeviceCount(&count), "looking for GPUs"); !ok) return fail(ok.error());
  return count;
}

result<stream> stream::make(bool urgent) {
  int least = 0, greatest = 0;
  if (auto ok = check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities"); !ok)
    return fail(ok.error());
  stream made;
  const auto code = cudaStreamCreateWithPriority(&made.handle_, cudaStreamNonBlocking, urgent ? greatest : least);
  if (auto ok = check(code, "making a stream"); !ok) return fail(ok.error());
  return made;
}

stream& stream::operator=(stream&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

stream::~stream() {
  if (handle_ != nullptr) log_failure(cudaStreamDestroy(handle_), "destroying a stream");
}

status stream::wait() const { return check(cudaStreamSynchronize(handle_), "waiting for a stream"); }

result<event> event::make(bool timed) {
  event made;
  const auto code = cudaEventCreateWithFlags(&made.handle_, timed ? cudaEventDefault : cudaEventDisableTiming);
  if (auto ok = check(code, "making an event"); !ok) return fail(ok.error());
  return made;
}

result<event> event::make_blocking() {
  event made;
  const auto code = cudaEventCreateWithFlags(&made.handle_, cudaEventDisableTiming | cudaEventBlockingSync);
  if (auto ok = check(code, "making an event"); !ok) return fail(ok.error());
  return made;
}

status event::wait() const { return check(cudaEventSynchronize(handle_), "waiting for an event"); }

event& event::operator=(event&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

event::~event() {
  if (handle_ != nullptr) log_failure(cudaEventDestroy(handle_), "destroying an event");
}

status event::record(const stream& on) const { return check(cudaEventRecord(handle_, on.get()), "recording an event"); }

result<bool> event::passed() const {
  const auto code = cudaEventQuery(handle_);
  if (code == cudaErrorNotReady) return false;
  if (auto ok = check(code, "asking for an event"); !ok) return fail(ok.error());
  return true;
}

status order_after(const stream& later, const stream& earlier, const event& with) {
  if (auto ok = with.record(earlier); !ok) return ok;
  return check(cudaStreamWaitEvent(later.get(), with.get(), 0), "ordering two streams");
}

result<memory> memory::make(memory_kind kind, std::size_t bytes, const char* what) {
  memory made;
  made.kind_ = kind;
  void* at = nullptr;
  const auto code = kind == memory_kind::device
                        ? cudaMalloc(&at, bytes)
                        : cudaHostAlloc(&at, bytes, cudaHostAllocMapped | cudaHostAllocPortable);
  if (code != cudaSuccess) {
    (void)cudaGetLastError();  // a failed allocation is reported here and must not be met by the next check
    std::size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) free = total = 0;
    return fail(errc::does_not_fit,
                fmt::format("{}: {} MiB of {} memory cannot be had ({}; {} of {} MiB of the GPU are free)", what,
                            bytes >> 20, kind == memory_kind::device ? "GPU" : "pinned host", cudaGetErrorName(code),
                            free >> 20, total >> 20));
  }
  made.data_ = static_cast<std::byte*>(at);
  made.bytes_ = bytes;
  return made;
}

memory::memory(memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)), kind_(other.kind_) {}

memory& memory::operator=(memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(kind_, other.kind_);
  return *this;
}

memory::~memory() {
  if (data_ == nullptr) return;
  log_failure(kind_ == memory_kind::device ? cudaFree(data_) : cudaFreeHost(data_), "freeing memory");
}

}  // namespace ballast::gpu::cuda
