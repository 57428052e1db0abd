#include "tests/gpu/cuda_support.hpp"

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

namespace ballast::gpu::test {
namespace {

template <class T>
T made(result<T> what) {
  if (what) return std::move(*what);
  std::fprintf(stderr, "%s\n", what.error().text.c_str());
  std::abort();
}

}  // namespace

std::string lacking_gpus(int wanted) {
  const auto count = cuda::device_count();
  if (!count) return count.error().text;
  return *count >= wanted ? "" : "there are " + std::to_string(*count) + " of " + std::to_string(wanted);
}

std::string lacking_nccl(int ranks) {
  if (const auto gpus = lacking_gpus(ranks); !gpus.empty()) return "NCCL takes one rank a GPU: " + gpus;
  const auto nccl = cuda::nccl_library::get();
  return nccl ? "" : nccl.error().text;
}

std::vector<std::byte> random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(size);
  for (std::size_t at = 0; at < size; at += 8) {
    const auto word = random();
    std::memcpy(out.data() + at, &word, std::min<std::size_t>(8, size - at));
  }
  return out;
}

void flip_bit(std::byte* on_device) {
  std::byte b{};
  EXPECT_EQ(cudaMemcpy(&b, on_device, 1, cudaMemcpyDeviceToHost), cudaSuccess);
  b ^= std::byte{4};
  EXPECT_EQ(cudaMemcpy(on_device, &b, 1, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

cuda_rank::cuda_rank(zmq::context_t& context, const options& o) : wires{context, {}} {
  for (std::uint32_t m = 0; m < o.models; ++m)
    stores.push_back(std::make_unique<cuda::cuda_model_store>(
        made(cuda::cuda_page_pool::make(o.ordinal, o.page_bytes, o.pages)), o.dense_bytes));
  cuda::cuda_transport_options how;
  how.ordinal = o.ordinal;
  how.bytes_per_s = o.bytes_per_s;
  how.allow_mappings = o.allow_mappings;
  transport = made(cuda::cuda_transport::open(wires, {o.bind, ""}, stores, how));
}

page_index cuda_rank::hold(page_key key, std::span<const std::byte> bytes, model_index model) {
  const auto page = made(pool(model).take());
  const auto written = pool(model).write(page, bytes);
  EXPECT_TRUE(written) << written.error().text;
  const auto sealed = pool(model).seal(page, key, std::nullopt);
  EXPECT_TRUE(sealed) << sealed.error().text;
  return page;
}

std::vector<std::byte> cuda_rank::contents(page_key key, model_index model) {
  const auto page = pool(model).find(key);
  if (!page) return {};
  std::vector<std::byte> out(pool(model).page_bytes());
  const auto read = pool(model).read(*page, out);
  EXPECT_TRUE(read) << read.error().text;
  return out;
}

int hold_pages(int ordinal) {
  zmq::context_t context;
  cuda_rank rank(context,
                 {.ordinal = ordinal, .bind = "ipc:///tmp/bcp", .page_bytes = held_page_bytes, .pages = held_experts});
  for (std::uint32_t e = 0; e < held_experts; ++e) rank.hold({0, e}, random_bytes(held_page_bytes, e));
  std::printf("%s\n", rank.transport->address().c_str());
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) continue;
  return 0;
}

}  // namespace ballast::gpu::test
