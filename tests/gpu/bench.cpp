// Costs of the host backend: kernels, a step over 2 to 6 ranks, and the publication of one layer.
#include <benchmark/benchmark.h>

#include <memory>
#include <thread>

#include "gpu/host/layer.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

moe_shape bench_shape(dtype type = dtype::bf16) {
  moe_shape s;
  s.layers = 8;
  s.experts = 32;
  s.top_k = 4;
  s.hidden = 256;
  s.intermediate = 128;
  s.expert_type = type;
  return s;
}

void expert(benchmark::State& state) {
  auto shape = bench_shape(static_cast<dtype>(state.range(0)));
  shape.layers = 1;
  const auto model = make_model(shape, 1);
  const host::layer_math math(shape, state.range(2) != 0 ? host::best_isa() : host::isa::portable);
  const auto tokens = static_cast<std::uint32_t>(state.range(1));
  const auto x = make_hidden(shape, tokens, 2);
  std::vector<float> y(x.size());
  host::layer_math::workspace work;
  for (auto _ : state) math.run_expert(model.bundles[0][0].data(), x.data(), tokens, y.data(), work);
  const auto flops = 6.0 * shape.hidden * shape.intermediate * tokens;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(expert)->ArgNames({"type", "tokens", "fast"})->ArgsProduct({{0, 1, 2, 3}, {1, 4, 32}, {1}})->Args({1, 32, 0});

// What the forward loop pays at a step boundary for a layer whose placement changed: its slots set, its routing
// swapped.
void publish_layer(benchmark::State& state) {
  const auto shape = bench_shape();
  const auto model = make_model(shape, 1);
  cluster c(model, {.ranks = 1});
  const auto table = random_placement(shape, c.seats(), shape.experts, 0, 3);
  if (!c.load(table)) return state.SkipWithError("load");
  std::shared_ptr<const routing_table> tables[] = {c.at(0).make_routing(table).value(),
                                                   c.at(0).make_routing(table).value()};
  auto current = tables[0];
  auto& slots = c.at(0).slots(0);
  std::size_t round = 0;
  for (auto _ : state) {
    for (std::uint32_t slot = 0; slot < shape.experts; ++slot) {
      const auto held = slots.at(0, slot);
      slots.set(0, slot, held.page, held.expert);
    }
    current = tables[++round % 2];
    benchmark::DoNotOptimize(current.get());
  }
}
BENCHMARK(publish_layer);

void make_routing(benchmark::State& state) {
  const auto shape = bench_shape();
  const auto model = make_model(shape, 1);
  cluster c(model, {.ranks = 2});
  const auto table = random_placement(shape, c.seats(), shape.experts, 16, 3);
  for (auto _ : state) benchmark::DoNotOptimize(c.at(0).make_routing(table));
}
BENCHMARK(make_routing)->Unit(benchmark::kMicrosecond);

// Ranks in threads of their own; the timed thread is rank 0.
void run_ranks(benchmark::State& state, const char* bind, std::uint32_t tokens) {
  const auto ranks = static_cast<std::uint32_t>(state.range(0));
  const auto shape = bench_shape();
  const auto model = make_model(shape, 1);
  cluster c(model, {.bind = bind, .ranks = ranks});
  if (!c.connect(1) || !c.load(random_placement(shape, c.seats(), shape.experts, 8, 3)))
    return state.SkipWithError("set-up");
  constexpr std::uint32_t last = 1;  // header flag of the last step
  const auto one = [&](std::uint32_t r, step_t step, std::vector<std::vector<float>>& hidden, bool final) {
    step_header mine{.step = step, .ready_epoch = 0, .tokens = {tokens}, .versions = {}, .flags = final ? last : 0};
    std::vector<step_header> all(ranks);
    auto ok = c.comm(r).exchange_headers(mine, all);
    if (ok && tokens > 0) ok = c.step_model(r, step, hidden);
    return ok && all[0].flags == 0;
  };
  std::vector<std::thread> others;
  for (std::uint32_t r = 1; r < ranks; ++r)
    others.emplace_back([&, r] {
      for (step_t step = 1;; ++step) {
        std::vector<std::vector<float>> hidden{make_hidden(shape, tokens, r)};
        if (!one(r, step, hidden, false)) return;
      }
    });
  step_t step = 0;
  std::vector<std::vector<float>> hidden{make_hidden(shape, tokens, 0)};
  for (auto _ : state) {
    auto batch = hidden;
    if (!one(0, ++step, batch, false)) {
      state.SkipWithError("step");
      break;
    }
  }
  one(0, ++step, hidden, true);
  for (auto& t : others) t.join();
}
void headers_inproc(benchmark::State& s) { run_ranks(s, "inproc://bench", 0); }
void headers_ipc(benchmark::State& s) { run_ranks(s, "ipc:///tmp/bench", 0); }
void headers_tcp(benchmark::State& s) { run_ranks(s, "tcp://127.0.0.1:*", 0); }
void step_inproc(benchmark::State& s) { run_ranks(s, "inproc://bench", 2); }
void step_ipc(benchmark::State& s) { run_ranks(s, "ipc:///tmp/bench", 2); }
void step_tcp(benchmark::State& s) { run_ranks(s, "tcp://127.0.0.1:*", 2); }
BENCHMARK(headers_inproc)->DenseRange(2, 6, 2)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(headers_ipc)->DenseRange(2, 6, 2)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(headers_tcp)->DenseRange(2, 6, 2)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(step_inproc)->DenseRange(1, 6, 1)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(step_ipc)->DenseRange(2, 6, 2)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(step_tcp)->DenseRange(2, 6, 2)->UseRealTime()->Unit(benchmark::kMicrosecond);

void pull_page(benchmark::State& state) {
  auto shape = bench_shape();
  shape.layers = 1;
  shape.hidden = static_cast<std::uint32_t>(state.range(0));
  const auto model = make_model(shape, 1);
  cluster c(model, {.bind = "ipc:///tmp/bench", .ranks = 2});
  const auto table = random_placement(shape, {c.seats()[0]}, shape.experts, 0, 3);
  if (!c.load(table)) return state.SkipWithError("load");
  auto& pool = c.at(1).pages(0);
  for (auto _ : state) {
    const auto page = pool.take().value();
    if (!c.at(1).transport().pull(c.at(0).transport().address(), 0, {0, 3}, page, std::chrono::seconds(5)))
      state.SkipWithError("pull");
    pool.give_back(page);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(static_cast<std::size_t>(state.iterations()) * pool.page_bytes()));
}
BENCHMARK(pull_page)->Arg(256)->Arg(8192)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace ballast::gpu::test
