// Ranks' pages and transports on GPUs, for the tests of the cuda backend's parts.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "gpu/cuda/cuda_transport_impl.hpp"
#include "gpu/cuda/nccl_library_impl.hpp"

namespace ballast::gpu::test {

// Empty, or why a test that needs `wanted` GPUs cannot run.
std::string lacking_gpus(int wanted);
#define BALLAST_NEEDS_GPUS(wanted)                                                       \
  if (const auto lacking = ::ballast::gpu::test::lacking_gpus(wanted); !lacking.empty()) \
  GTEST_SKIP() << "no GPU: " << lacking

// Empty, or why `ranks` ranks cannot exchange tokens by NCCL here.
std::string lacking_nccl(int ranks);
#define BALLAST_NEEDS_NCCL(ranks) \
  if (const auto lacking = ::ballast::gpu::test::lacking_nccl(ranks); !lacking.empty()) GTEST_SKIP() << lacking

std::vector<std::byte> random_bytes(std::size_t size, std::uint64_t seed);
void flip_bit(std::byte* on_device);

// A rank without its forward: pools of all models, and a transport. What cannot be made ends the program with the
// reason.
struct cuda_rank {
  struct options {
    int ordinal = 0;
    std::string bind = "inproc://cuda";
    std::size_t page_bytes = 64 << 10;
    std::uint32_t pages = 8;
    std::uint32_t models = 1;
    std::size_t dense_bytes = 1000;
    std::uint64_t bytes_per_s = 0;
    bool allow_mappings = true;
  };
  cuda_rank(zmq::context_t& context, const options& o);
  cuda::cuda_page_pool& pool(model_index model = 0) { return stores.at(model)->pool(); }
  // A page that holds `bytes` under `key`.
  page_index hold(page_key key, std::span<const std::byte> bytes, model_index model = 0);
  std::vector<std::byte> contents(page_key key, model_index model = 0);

  gpu::host::wire_context wires;
  cuda::cuda_model_stores stores;
  std::unique_ptr<cuda::cuda_transport> transport;
};

// What a test process that only holds pages holds: expert e of layer 0 is random_bytes(page_bytes, e).
inline constexpr std::uint32_t held_experts = 6;
inline constexpr std::size_t held_page_bytes = (1 << 20) + 64;
int hold_pages(int ordinal);  // says its address, then serves until its input ends

}  // namespace ballast::gpu::test
