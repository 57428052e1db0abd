// The CUDA runtime as values and owners: errors are status, whatever is made is destroyed. For .cpp files of this
// folder.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "messages/result.hpp"

namespace ballast::gpu::cuda {

// ok, or errc::io with "WHAT: cudaErrorName: sentence".
status check(cudaError_t code, const char* what);
// For destructors and other places that can only log.
void log_failure(cudaError_t code, const char* what) noexcept;

// A new thread stands on device 0, whatever its parent chose: every entry point of the backend begins with this.
status stand_on(int ordinal);
result<int> device_count();

// Destroyed on any thread; the device it was made on need not be current.
class stream {
 public:
  static result<stream> make(bool urgent);  // non-blocking; urgent: the highest priority, else the lowest
  stream() = default;
  stream(stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  stream& operator=(stream&& other) noexcept;
  ~stream();
  cudaStream_t get() const noexcept { return handle_; }
  status wait() const;  // until all that was issued has been done

 private:
  cudaStream_t handle_ = nullptr;
};

class event {
 public:
  static result<event> make(bool timed = false);
  static result<event> make_blocking();  // wait() gives the processor away
  event() = default;
  event(event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  event& operator=(event&& other) noexcept;
  ~event();
  cudaEvent_t get() const noexcept { return handle_; }
  status record(const stream& on) const;
  result<bool> passed() const;  // never waits
  status wait() const;          // at once if it was never recorded

 private:
  cudaEvent_t handle_ = nullptr;
};

// `later` goes on only after what `earlier` has been given so far. One event an edge: 3 to 6 us of host time.
status order_after(const stream& later, const stream& earlier, const event& with);

enum class memory_kind : unsigned char {
  device,  // cudaMalloc: can be exported to other processes
  pinned,  // page-locked host memory, mapped into the device's address space
};

// One allocation, made at start and kept: freeing stalls the device's users.
class memory {
 public:
  static result<memory> make(memory_kind kind, std::size_t bytes, const char* what);
  memory() = default;
  memory(memory&& other) noexcept;
  memory& operator=(memory&& other) noexcept;
  ~memory();
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return bytes_; }
  template <class T>
  T* as(std::size_t offset = 0) const noexcept {
    return reinterpret_cast<T*>(data_ + offset);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  memory_kind kind_ = memory_kind::device;
};

}  // namespace ballast::gpu::cuda
