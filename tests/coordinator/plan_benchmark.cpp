// What a plan for a scale costs the coordinator, by the number of threads: 48 layers of 128 experts and 16 spare
// replicas from one rank to two, and 58 layers of 256 experts and 32 spare replicas from 16 ranks to 32.
#include <benchmark/benchmark.h>

#include <random>

#include "coordinator/plans.hpp"

namespace {

using namespace ballast;
using namespace ballast::cluster;

struct growth {
  std::uint32_t layers, experts, redundant, from, to, slots;
};
constexpr growth one_to_two{48, 128, 16, 1, 2, 128}, many{58, 256, 32, 16, 32, 18};

load_matrix drawn(const growth& g, std::mt19937_64& random) {
  std::gamma_distribution<double> load(0.7, 1000);
  load_matrix out(g.layers, std::vector<double>(g.experts));
  for (auto& layer : out)
    for (auto& n : layer) n = load(random);
  return out;
}

plan_request scale_up(const growth& g, std::uint32_t threads) {
  plan_request r;
  r.kind = plan_kind::grow;
  r.policy = "economy";
  r.solve_shares = true;
  std::mt19937_64 random(1);
  plan_task t;
  t.problem.layers = g.layers;
  t.problem.experts = g.experts;
  t.problem.redundant = g.redundant;
  t.problem.shares_follow = true;
  t.problem.options = policies::for_solved_shares(*policies::policy_options(r.policy));
  t.problem.options->threads = threads;
  t.problem.loads = drawn(g, random);
  for (std::uint32_t s = 0; s < g.from; ++s) t.problem.seats.push_back({seat_id{s}, s / 8, 1.0, {g.slots, g.layers}});
  t.problem.current = *policies::place("deepseek", t.problem);
  for (std::uint32_t s = g.from; s < g.to; ++s) {
    t.problem.seats.push_back({seat_id{s}, s / 8, 1.0, {g.slots, g.layers}});
    r.joiners.push_back(seat_id{s});
  }
  for (int i = 0; i < 5; ++i) t.problem.history.intervals.push_back(drawn(g, random));
  for (int i = 0; i < 4; ++i) t.problem.history.parts.push_back(drawn(g, random));
  t.problem.loads = drawn(g, random);
  t.everyone = t.problem.seats;
  r.tasks.push_back(std::move(t));
  return r;
}

void plan_growth(benchmark::State& state, const growth& g) {
  const auto asked = scale_up(g, static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) {
    auto made = make_plan(asked);
    if (!made) return state.SkipWithError(made.error().text.c_str());
    benchmark::DoNotOptimize(made);
  }
}
void by_threads(benchmark::internal::Benchmark* b) {
  b->Arg(1)->Arg(2)->Arg(8)->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK_CAPTURE(plan_growth, one_to_two, one_to_two)->Apply(by_threads);
BENCHMARK_CAPTURE(plan_growth, many, many)->Apply(by_threads);

}  // namespace
