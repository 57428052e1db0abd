// Small things that kernels share.
#pragma once

#include <cuda_bf16.h>

#include "gpu/cuda/kernels_impl.hpp"

namespace ballast::gpu::cuda {

__device__ inline float bf16_to_float(std::uint16_t bits) { return __uint_as_float(std::uint32_t{bits} << 16); }
__device__ inline std::uint16_t to_bf16(float v) { return __bfloat16_as_ushort(__float2bfloat16_rn(v)); }
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&both);
}

__device__ inline std::uint64_t load_acquire(const std::uint64_t* at) {
  std::uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(at) : "memory");
  return value;
}
__device__ inline void store_release(std::uint64_t* at, std::uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(at), "l"(value) : "memory");
}

// The sum of a block's values, the same for every thread, in an order that depends on the block's size alone.
template <int Threads>
__device__ float block_sum(float value) {
  __shared__ float partial[Threads / 32];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  __syncthreads();  // partial may still be read for an earlier sum
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < Threads / 32; ++w) sum += partial[w];
  return sum;
}

__device__ inline std::uint64_t signal_value(const step_view& step, std::uint32_t layer) {
  return step.sequence + layer + 1;
}

__device__ inline std::uint32_t* verdict_of(float* answers) {
  return reinterpret_cast<std::uint32_t*>(answers - verdict_floats);
}

// Called by all threads of a block after their last write: once every block of the grid has, tells all members. Nobody
// waits for a signal where rows travel in blocks.
__device__ inline void signal_when_all_done(const step_view* step, std::uint32_t layer, signal_kind kind,
                                            std::uint32_t* done) {
  if (step->blocks != 0) return;
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (atomicAdd(done, 1) != gridDim.x - 1) return;
  *done = 0;
  __threadfence_system();
  for (std::uint32_t m = 0; m < step->members; ++m)
    store_release(step->at[m].flags + kind * max_members + step->rank, signal_value(*step, layer));
}

// Called by at least `members` threads of a block: waits until all members have signalled. False: stopped.
__device__ inline bool await_members(const step_view* step, std::uint32_t layer, signal_kind kind) {
  if (step->blocks != 0) return true;
  bool good = true;
  if (threadIdx.x < step->members) {
    const auto* flag = step->at[step->rank].flags + kind * max_members + threadIdx.x;
    const auto wanted = signal_value(*step, layer);
    for (std::uint32_t spins = 0; load_acquire(flag) < wanted; ++spins)
      if (spins % 64 == 63 && *step->stop != 0) {
        good = false;
        break;
      }
  }
  return __syncthreads_and(good);
}

__device__ inline void report(fault_view* fault, fault_kind kind, std::uint32_t layer, std::uint32_t source = 0,
                              std::uint32_t slot = 0, std::uint32_t named = 0, std::uint32_t held = 0) {
  if (atomicCAS_system(&fault->kind, fault_none, kind) != fault_none) return;
  fault->layer = layer;
  fault->source = source;
  fault->slot = slot;
  fault->named = named;
  fault->held = held;
  __threadfence_system();
  *static_cast<volatile std::uint32_t*>(&fault->complete) = 1;
}

}  // namespace ballast::gpu::cuda
