// The backend's checksum of bytes: 64 bits, the same from the GPU and from the host. Every 16-byte lane is mixed with
// its position, and the lanes are added mod 2^64, so that any order of adding gives the same sum. C++17, for kernels
// too.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ballast::gpu::cuda {

__host__ __device__ inline std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Bijective in each half of the lane while the other stays: one changed half never goes unseen.
__host__ __device__ inline std::uint64_t mix_lane(std::uint64_t position, std::uint64_t low, std::uint64_t high) {
  const std::uint64_t first = mix(low + (position + 1) * 0x9e3779b97f4a7c15ull);
  return mix(first ^ (high * 0xd6e8feb86659fd93ull + 0x632be59bd9b4e019ull));
}

__host__ __device__ inline std::uint64_t mix_size(std::uint64_t bytes) { return mix(bytes ^ 0xa0761d6478bd642full); }

inline std::uint64_t checksum_of(const std::byte* bytes, std::size_t size) {
  std::uint64_t sum = mix_size(size);
  for (std::size_t at = 0; at < size; at += 16) {
    std::uint64_t lane[2] = {0, 0};  // the last one is filled up with zeros
    std::memcpy(lane, bytes + at, size - at < 16 ? size - at : 16);
    sum += mix_lane(at / 16, lane[0], lane[1]);
  }
  return sum;
}

// Pages of one launch, as a kernel's argument.
struct checksum_batch {
  static constexpr std::uint32_t most = 64;
  std::uint32_t count = 0;
  const std::byte* at[most];  // aligned to 16 bytes
};

// Thread blocks a page. Few, so that kernels of other streams find room beside them.
inline constexpr std::uint32_t checksum_parts = 32;

// parts[page * checksum_parts ...]: what each block of the page added; memory that the device can write, such as mapped
// host memory. Issued on `on`.
cudaError_t sum_pages(const checksum_batch& pages, std::size_t bytes, std::uint64_t* parts, cudaStream_t on);

// Of a page of `bytes` bytes, from its parts.
inline std::uint64_t total_of(const std::uint64_t* parts, std::size_t bytes) {
  std::uint64_t sum = mix_size(bytes);
  for (std::uint32_t i = 0; i < checksum_parts; ++i) sum += parts[i];
  return sum;
}

}  // namespace ballast::gpu::cuda
