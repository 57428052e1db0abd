#include "gpu/cuda/checksum_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

constexpr unsigned threads = 256;
constexpr unsigned at_once = 4;  // loads under way in a thread

__device__ std::uint64_t whole(unsigned low, unsigned high) { return std::uint64_t{high} << 32 | low; }

__device__ std::uint64_t mix_at(std::uint64_t position, const uint4& v) {
  return mix_lane(position, whole(v.x, v.y), whole(v.z, v.w));
}

// The lanes of this block's share of a page, `threads` neighbours at a time.
__device__ std::uint64_t sum_lanes(const uint4* lanes, std::size_t count) {
  const std::size_t stride = std::size_t{gridDim.x} * threads;
  std::size_t i = std::size_t{blockIdx.x} * threads + threadIdx.x;
  std::uint64_t sum = 0;
  for (; i + (at_once - 1) * stride < count; i += at_once * stride) {
    uint4 got[at_once];
#pragma unroll
    for (unsigned k = 0; k < at_once; ++k) got[k] = __ldcs(lanes + i + k * stride);
#pragma unroll
    for (unsigned k = 0; k < at_once; ++k) sum += mix_at(i + k * stride, got[k]);
  }
  for (; i < count; i += stride) sum += mix_at(i, __ldcs(lanes + i));
  return sum;
}

__device__ std::uint64_t sum_rest(const std::byte* page, std::size_t bytes) {
  std::uint64_t lane[2] = {0, 0};
  const std::size_t first = bytes / 16 * 16;
  for (std::size_t i = first; i < bytes; ++i)
    lane[(i - first) / 8] |= static_cast<std::uint64_t>(page[i]) << (8 * ((i - first) % 8));
  return mix_lane(bytes / 16, lane[0], lane[1]);
}

__global__ void __launch_bounds__(threads)
    sum_parts(const checksum_batch pages, std::size_t bytes, std::uint64_t* parts) {
  const std::byte* page = pages.at[blockIdx.y];
  std::uint64_t sum = sum_lanes(reinterpret_cast<const uint4*>(page), bytes / 16);
  if (bytes % 16 != 0 && blockIdx.x == 0 && threadIdx.x == 0) sum += sum_rest(page, bytes);
  for (unsigned apart = 16; apart > 0; apart /= 2) sum += __shfl_down_sync(~0u, sum, apart);
  __shared__ std::uint64_t of_warp[threads / 32];
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned w = 1; w < threads / 32; ++w) sum += of_warp[w];
  parts[std::size_t{blockIdx.y} * gridDim.x + blockIdx.x] = sum;
}

}  // namespace

cudaError_t sum_pages(const checksum_batch& pages, std::size_t bytes, std::uint64_t* parts, cudaStream_t on) {
  if (pages.count == 0) return cudaSuccess;
  sum_parts<<<dim3(checksum_parts, pages.count), threads, 0, on>>>(pages, bytes, parts);
  return cudaGetLastError();
}

}  // namespace ballast::gpu::cuda
