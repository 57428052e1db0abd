// Copies between pageable host memory and a GPU by way of two pinned buffers, one filled while the other travels.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <span>

#include "gpu/cuda/runtime_impl.hpp"

namespace ballast::gpu::cuda {

// Threads: any, one at a time: who comes meanwhile waits. The calling thread stands on the GPU. Both functions return
// when the bytes have arrived, also after an error.
class staging {
 public:
  static result<staging> make(std::size_t chunk_bytes);  // on the GPU that the thread stands on
  status to_device(std::byte* to, std::span<const std::byte> from);
  status to_host(std::span<std::byte> to, const std::byte* from);

 private:
  struct half {
    memory room;
    event arrived;
  };
  status fill(std::byte* to, std::span<const std::byte> from);
  status drain(std::span<std::byte> to, const std::byte* from);

  std::size_t chunk_ = 0;
  std::array<half, 2> halves_;
  stream copies_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
};

}  // namespace ballast::gpu::cuda
