// Who can reach whose memory: processes of a host, and GPUs of a process.
#pragma once

#include <cstdint>

#include "gpu/cuda/runtime_impl.hpp"

namespace ballast::gpu::cuda {

// This process among all: what two ends must agree on to hand each other plain device addresses.
struct process_name {
  char host[40] = {};         // the boot id of its kernel; empty: unknown, never equal to another
  std::uint64_t process = 0;  // drawn once in a process; with `pid`, as a forked child has its parent's
  std::uint32_t pid = 0;
  bool same_host(const process_name& other) const noexcept;
  bool same_process(const process_name& other) const noexcept;
};
process_name this_process();

// One GPU among those of all hosts.
struct gpu_name {
  std::uint8_t id[16] = {};
  bool operator==(const gpu_name&) const = default;
};
result<gpu_name> name_of_gpu(int ordinal);

// Lets kernels and copies of GPU `ordinal` reach the memory of GPU `other` of this process. Leaves the caller on
// `ordinal`. Errors: unavailable (no such access).
status reach(int ordinal, int other);

}  // namespace ballast::gpu::cuda
