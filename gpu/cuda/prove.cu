#include "gpu/cuda/device_math.cuh"

namespace ballast::gpu::cuda {
namespace {

__device__ std::uint64_t pattern(std::uint64_t step, std::uint32_t from, std::uint32_t to, std::uint32_t i) {
  return (step * 31 + from * 257 + to) * 0x9e3779b97f4a7c15ull + i;
}

// Rows of the exchange serve as the mail box: nothing else uses a communicator's half before its first step.
__global__ void prove_kernel(const step_view* step, std::uint32_t values, std::uint32_t* mismatches) {
  const auto mail = [&](std::uint32_t owner, std::uint32_t source) {
    return reinterpret_cast<std::uint64_t*>(step->at[owner].rows) + std::size_t{source} * values;
  };
  for (std::uint32_t m = 0; m < step->members; ++m)
    for (auto i = threadIdx.x; i < values; i += blockDim.x)
      mail(m, step->rank)[i] = pattern(step->step, step->rank, m, i);
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x < step->members)
    for (std::uint32_t kind = 0; kind < signal_kinds; ++kind)
      store_release(step->at[threadIdx.x].flags + kind * max_members + step->rank, signal_value(*step, 0));
  for (std::uint32_t kind = 0; kind < signal_kinds; ++kind)
    if (!await_members(step, 0, static_cast<signal_kind>(kind))) {
      if (threadIdx.x == 0) *mismatches = ~0u;
      return;
    }
  std::uint32_t wrong = 0;
  for (std::uint32_t m = 0; m < step->members; ++m)
    for (auto i = threadIdx.x; i < values; i += blockDim.x)
      wrong += __ldcv(mail(step->rank, m) + i) != pattern(step->step, m, step->rank, i);
  if (wrong > 0) atomicAdd_system(mismatches, wrong);
}

}  // namespace

cudaError_t prove_exchange(const step_view* step, std::uint32_t values, std::uint32_t* mismatches, cudaStream_t on) {
  prove_kernel<<<1, 256, 0, on>>>(step, values, mismatches);
  return cudaGetLastError();
}

}  // namespace ballast::gpu::cuda
