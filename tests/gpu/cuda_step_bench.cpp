// Step times of the Qwen3-30B-A3B shape on one and two GPUs, and what publishing a layer's slots costs.
#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include "tests/gpu/cuda_rig.hpp"

namespace ballast::gpu::bench {
namespace {

bool say(const status& s, const char* what) {
  if (!s) fmt::print(stderr, "{}: {}\n", what, s.error().text);
  return s.has_value();
}

int measure_steps(std::uint32_t ranks, const std::vector<std::uint32_t>& batches, std::uint32_t slots) {
  rig_options o;
  o.ranks = ranks;
  o.slots_per_layer = slots;
  o.spare_pages = 8;
  for (const auto t : batches) o.max_batch_tokens = std::max(o.max_batch_tokens, t);
  auto r = rig::make(o);
  if (!r) return say(fail(r.error()), "rig"), 1;
  if (!say((*r)->load((*r)->even_placement(ranks > 1 ? slots * ranks - o.shape.experts : 0)), "load")) return 1;
  if (!say((*r)->connect(1), "connect")) return 1;
  for (const auto tokens : batches) {
    const std::uint32_t count = tokens > 256 ? 20 : 200;
    if (auto warm = (*r)->run(10, tokens); !warm) return say(fail(warm.error()), "warm-up"), 1;
    const auto times = (*r)->run(count, tokens);
    if (!times) return say(fail(times.error()), "steps"), 1;
    const auto p50 = percentile(*times, 0.5);
    fmt::print("step ranks={} tokens={} p50={:.3f} ms p99={:.3f} ms tokens_per_s={:.0f}\n", ranks, tokens, p50,
               percentile(*times, 0.99), tokens * ranks / p50 * 1000);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace ballast::gpu::bench

// cuda_step_bench RANKS SLOTS TOKENS…
int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: cuda_step_bench RANKS SLOTS_PER_LAYER TOKENS...\n");
    return 2;
  }
  std::vector<std::uint32_t> batches;
  for (int i = 3; i < argc; ++i) batches.push_back(static_cast<std::uint32_t>(std::atoi(argv[i])));
  return ballast::gpu::bench::measure_steps(static_cast<std::uint32_t>(std::atoi(argv[1])), batches,
                                            static_cast<std::uint32_t>(std::atoi(argv[2])));
}
