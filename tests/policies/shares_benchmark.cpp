// Solving shares at the size of a large deployment, a layer: 256 experts on 32 seats with 32 redundant ones, loads that
// have changed since the placement was made.
#include <benchmark/benchmark.h>

#include "policies/shares.hpp"
#include "tests/policies/shapes.hpp"

namespace {

using namespace ballast;
using namespace ballast::policies;

constexpr std::uint32_t layers = 58, experts = 256;

void solve(benchmark::State& state, const char* policy) {
  const auto seat_count = static_cast<std::uint32_t>(state.range(0));
  placement_problem problem;
  problem.layers = layers;
  problem.experts = experts;
  problem.redundant = 32;
  problem.seats = policies::testing::equal_seats(seat_count, (experts + 32) / seat_count);
  problem.loads = policies::testing::skewed_loads(layers, experts, 1);
  auto table = *place(policy, problem);
  const auto other = policies::testing::skewed_loads(layers, experts, 2);
  auto loads = problem.loads;
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t e = 0; e < experts; ++e) loads[l][e] += 0.1 * (other[l][e] - loads[l][e]);
  }
  double peak = 0, bound = 0;
  for (auto _ : state) {
    auto solved = solve_shares(std::move(table), loads, problem.seats);
    peak = bound = 0;
    for (const auto& layer : solved->layers) peak += layer.peak / layers, bound += layer.bound / layers;
    table = std::move(solved->table);
  }
  state.counters["peak"] = peak;
  state.counters["bound"] = bound;
  state.counters["a_layer"] =
      benchmark::Counter(layers, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK_CAPTURE(solve, economy, "economy")->Arg(32)->Arg(8)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(solve, deepseek, "deepseek")->Arg(32)->Arg(8)->Unit(benchmark::kMicrosecond);

}  // namespace
