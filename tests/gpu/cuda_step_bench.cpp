// Step times of the Qwen3-30B-A3B shape on one and two GPUs, and what publishing a layer's slots costs.
#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include "gpu/cuda/slot_table_impl.hpp"
#include "tests/gpu/cuda_rig.hpp"

namespace ballast::gpu::bench {
namespace {

bool say(const status& s, const char* what) {
  if (!s) fmt::print(stderr, "{}: {}\n", what, s.error().text);
  return s.has_value();
}

int measure_steps(std::uint32_t ranks, const std::vector<std::uint32_t>& batches, std::uint32_t slots,
                  bool statistics) {
  rig_options o;
  o.ranks = ranks;
  o.slots_per_layer = slots;
  o.spare_pages = 8;
  o.count_loads = statistics;
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
    fmt::print("step ranks={} statistics={} tokens={} p50={:.3f} ms p99={:.3f} ms tokens_per_s={:.0f}\n", ranks,
               statistics ? "on" : "off", tokens, p50, percentile(*times, 0.99), tokens * ranks / p50 * 1000);
    std::fflush(stdout);
  }
  return 0;
}

// A layer's quarter: 18 entries, as they change when a wave is published.
int measure_commit() {
  constexpr std::uint32_t entries = 18, times = 200;
  auto pool = cuda::cuda_page_pool::make(0, std::size_t{9} << 20, entries);
  if (!pool) return say(fail(pool.error()), "pool"), 1;
  std::vector<page_index> pages;
  const std::vector<std::byte> bundle(std::size_t{9} << 20);
  for (std::uint32_t e = 0; e < entries; ++e) {
    pages.push_back((*pool)->take().value());
    if (!say((*pool)->write(pages.back(), bundle), "page")) return 1;
    if (!say((*pool)->seal(pages.back(), {0, e}, std::nullopt), "page")) return 1;
  }
  auto table = cuda::cuda_slot_table::make(1, 144, **pool);
  auto on = cuda::stream::make(true);
  auto begun = cuda::event::make(true), ended = cuda::event::make(true);
  if (!table || !on || !begun || !ended) return 1;
  std::vector<double> host_us;
  const auto change = [&] {
    for (std::uint32_t e = 0; e < entries; ++e) (*table)->set(0, e, pages[e], e);
  };
  change();
  if (!say((*table)->flush(on->get()), "publish") || !say(on->wait(), "publish") || !say(begun->record(*on), "event"))
    return 1;
  for (std::uint32_t i = 0; i < times; ++i) {
    change();
    const auto issued = std::chrono::steady_clock::now();
    if (!say((*table)->flush(on->get()), "publish")) return 1;
    host_us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - issued).count());
  }
  if (!say(ended->record(*on), "event") || !say(on->wait(), "publish")) return 1;
  float all_ms = 0;
  if (!say(cuda::check(cudaEventElapsedTime(&all_ms, begun->get(), ended->get()), "timing"), "publish")) return 1;
  fmt::print("commit entries={} gpu_us={:.2f} host_us_p50={:.2f} host_us_p99={:.2f}\n", entries, all_ms * 1000 / times,
             percentile(host_us, 0.5), percentile(host_us, 0.99));
  return 0;
}

}  // namespace
}  // namespace ballast::gpu::bench

// cuda_step_bench commit | RANKS SLOTS on|off TOKENS…
int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words == std::vector<std::string>{"commit"}) return ballast::gpu::bench::measure_commit();
  if (words.size() < 4) {
    fmt::print(stderr, "usage: cuda_step_bench commit | RANKS SLOTS_PER_LAYER on|off TOKENS...\n");
    return 2;
  }
  const auto number = [&](std::size_t i) { return static_cast<std::uint32_t>(std::stoul(words[i])); };
  std::vector<std::uint32_t> batches;
  for (std::size_t i = 3; i < words.size(); ++i) batches.push_back(number(i));
  return ballast::gpu::bench::measure_steps(number(0), batches, number(1), words[2] == "on");
}
