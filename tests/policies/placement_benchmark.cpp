// Planning times at the size of a large deployment: 58 layers x 256 experts on 32 seats with 32 redundant experts a
// layer.
#include <benchmark/benchmark.h>

#include <map>

#include "policies/waves.hpp"
#include "tests/policies/shapes.hpp"

namespace {

using namespace ballast;
using namespace ballast::policies;

constexpr std::uint32_t layers = 58, experts = 256, seat_count = 32, slots = 9;

placement_problem problem_of(std::uint64_t seed) {
  placement_problem problem;
  problem.layers = layers;
  problem.experts = experts;
  problem.groups = 8;
  problem.redundant = seat_count * slots - experts;
  problem.seats = policies::testing::equal_seats(seat_count, slots);
  problem.loads = policies::testing::skewed_loads(layers, experts, seed);
  return problem;
}

void place_from_nothing(benchmark::State& state, const char* policy) {
  const auto problem = problem_of(1);
  double peak = 0;
  for (auto _ : state) {
    const auto placed = place(policy, problem);
    peak = imbalance(*placed, problem.loads, problem.seats).mean;
  }
  state.counters["imbalance"] = peak;
}
BENCHMARK_CAPTURE(place_from_nothing, deepseek, "deepseek")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place_from_nothing, economy, "economy")->Unit(benchmark::kMillisecond);

// Loads changed by a fifth everywhere, or altogether.
void place_after_drift(benchmark::State& state, double changed) {
  auto problem = problem_of(1);
  problem.current = *place("economy", problem);
  const auto other = policies::testing::skewed_loads(layers, experts, 2);
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t e = 0; e < experts; ++e) problem.loads[l][e] += changed * (other[l][e] - problem.loads[l][e]);
  }
  double peak = 0, copies = 0;
  for (auto _ : state) {
    const auto placed = place("economy", problem);
    peak = imbalance(*placed, problem.loads, problem.seats).mean;
    copies = static_cast<double>(policies::testing::copies_between(*problem.current, *placed));
  }
  state.counters["before"] = imbalance(*problem.current, problem.loads, problem.seats).mean;
  state.counters["imbalance"] = peak;
  state.counters["moved_slots"] = copies / (layers * seat_count * slots);
}
BENCHMARK_CAPTURE(place_after_drift, a_fifth, 0.2)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place_after_drift, everything, 1.0)->Unit(benchmark::kMillisecond);

// From the placement for one load to that for another, altogether different one, with so many spare pages a seat. One
// wave at a time: a plan of hundreds of waves is not held as a whole.
void waves(benchmark::State& state, const char* policy) {
  auto problem = problem_of(1);
  for (auto& seat : problem.seats) seat.capacity.spare_pages = static_cast<std::uint32_t>(state.range(0));
  const auto base = *place("economy", problem);
  problem.loads = policies::testing::skewed_loads(layers, experts, 2);
  problem.current = base;
  const auto target = *place(policy, problem);
  std::map<seat_id, std::size_t> incoming;
  double count = 0, copies = 0, busiest = 0;
  for (auto _ : state) {
    auto schedule = *wave_schedule::begin(base, target, problem.seats);
    incoming.clear();
    for (count = 0;; ++count) {
      const auto wave = schedule.next();
      if (!*wave) break;
      for (const auto& t : (*wave)->adds) ++incoming[t.seat];
    }
    copies = static_cast<double>(schedule.copies());
  }
  for (const auto& [seat, adds] : incoming) busiest = std::max(busiest, static_cast<double>(adds));
  state.counters["waves"] = count;
  state.counters["copies"] = copies;
  state.counters["busiest_seat"] = busiest;  // copies that come to it
}
BENCHMARK_CAPTURE(waves, deepseek, "deepseek")->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(waves, economy, "economy")->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond);

}  // namespace
