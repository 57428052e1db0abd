// The memory through which ranks pass rows and answers: each rank's own, written by its peers straight over NVLink or
// within the GPU. A lane serves one communicator; as a standby one is built beside the active one and a third may
// follow before the first is gone, there are three.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "gpu/cuda/exchange_half_impl.hpp"
#include "gpu/cuda/views.hpp"

namespace ballast::gpu::cuda {

// Ends every wait of a kernel of one communicator, when raised. A word in pinned memory that kernels read where it lies, and
// any thread may touch while its lane is taken, also while it is being connected.
class stop_word {
 public:
  explicit stop_word(std::uint32_t* word) noexcept : word_(word) {}
  void raise() const noexcept { std::atomic_ref(*word_).store(1); }
  bool raised() const noexcept { return std::atomic_ref(*word_).load() != 0; }
  const volatile std::uint32_t* view() const noexcept { return word_; }

 private:
  std::uint32_t* word_;
};

// Another rank's exchange memory as this process reaches it; unmapped when the last communicator lets go of it.
class mapping {
 public:
  mapping(std::byte* base, bool foreign) : base_(base), foreign_(foreign) {}
  ~mapping();
  mapping(const mapping&) = delete;
  mapping& operator=(const mapping&) = delete;
  std::byte* base() const noexcept { return base_; }

 private:
  std::byte* base_;
  bool foreign_;
};

// Threads: any; map() may take 20 to 34 ms for a peer's first mapping. All memory is allocated at start: freeing
// pinned memory waits for every kernel of the context, and with it for one that waits for a peer of this process.
class exchange_memory {
 public:
  static constexpr std::uint32_t lanes = 3;
  static result<std::unique_ptr<exchange_memory>> make(int ordinal, const exchange_shape& shape);

  // A lane with no signal in it, and its stop word down. Errors: does_not_fit (all are in use).
  result<std::uint32_t> take();
  void give_back(std::uint32_t lane);
  stop_word stop(std::uint32_t lane) const noexcept { return stop_word(stops_.as<std::uint32_t>(lane * stop_stride)); }
  exchange_half half(std::uint32_t lane, exchange_kind wish) const;
  const exchange_shape& shape() const noexcept { return shape_; }

  std::byte* base() const noexcept { return memory_.data(); }

  // Errors: unavailable (no peer access, another host), does_not_fit (other sizes).
  result<std::shared_ptr<mapping>> map(const exchange_half& peer);
  static member_view view(std::byte* base, const exchange_shape& shape, std::uint32_t lane) noexcept;

 private:
  exchange_memory(int ordinal, const exchange_shape& shape) : ordinal_(ordinal), shape_(shape) {}

  const int ordinal_;
  const exchange_shape shape_;
  static constexpr std::size_t stop_stride = 64;  // bytes: no two in one cache line
  memory memory_, stops_;
  cudaIpcMemHandle_t handle_{};
  gpu_name gpu_;
  stream stream_;
  std::mutex mutex_;
  std::array<bool, lanes> taken_{};
  std::map<std::tuple<std::uint64_t, std::uint32_t, std::uint64_t>, std::weak_ptr<mapping>> mappings_;  // process, base
};

}  // namespace ballast::gpu::cuda
