// Plans for shares that are solved for whatever load comes.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "policies/shares.hpp"
#include "tests/policies/shapes.hpp"

namespace ballast::policies {
namespace {

using namespace testing;

placement_problem problem_of(std::uint32_t seats, std::uint32_t slots, std::uint32_t experts, std::uint64_t seed) {
  placement_problem problem;
  problem.layers = 4;
  problem.experts = experts;
  problem.redundant = seats * slots - experts;
  problem.seats = equal_seats(seats, slots);
  problem.loads = skewed_loads(4, experts, seed);
  problem.options = for_solved_shares(*policy_options("economy"));
  problem.shares_follow = true;
  return problem;
}

std::vector<double> peaks(const placement& p, const load_matrix& loads, const std::vector<seat_info>& seats) {
  std::vector<double> out;
  const auto solved = solve_shares(p, loads, seats);
  for (const auto& c : solved->layers) out.push_back(c.peak);
  return out;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const auto v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

load_matrix drifted(load_matrix loads, std::uint64_t seed, double part) {
  const auto other =
      skewed_loads(static_cast<std::uint32_t>(loads.size()), static_cast<std::uint32_t>(loads[0].size()), seed);
  for (std::size_t l = 0; l < loads.size(); ++l) {
    for (std::size_t e = 0; e < loads[l].size(); ++e) loads[l][e] += part * (other[l][e] - loads[l][e]);
  }
  return loads;
}

std::size_t parts_of(const layer_placement& layer, std::size_t seats) {
  std::vector<std::size_t> up(seats);
  for (std::size_t s = 0; s < seats; ++s) up[s] = s;
  const std::function<std::size_t(std::size_t)> root = [&](std::size_t s) { return up[s] == s ? s : root(up[s]); };
  for (const auto& replicas : layer) {
    for (const auto& r : replicas) up[root(index_of(r.seat))] = root(index_of(replicas[0].seat));
  }
  std::size_t parts = 0;
  for (std::size_t s = 0; s < seats; ++s) parts += up[s] == s;
  return parts;
}

TEST(shared_layout, of_one_spare_a_seat_joins_all_seats) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    auto problem = problem_of(16, 5, 64, seed);
    problem.options->changes_max = 0;
    const auto placed = place("economy", problem);
    ASSERT_TRUE(placed) << placed.error().text;
    ASSERT_TRUE(validate(*placed, 4, 64, problem.seats));
    for (const auto& layer : placed->layers) EXPECT_EQ(parts_of(layer, 16), 1) << "seed " << seed;
  }
}

TEST(shared_layout, is_better_for_loads_that_have_drifted_than_one_for_even_shares) {
  double shared = 0, even = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    auto problem = problem_of(16, 5, 64, seed);
    const auto later = drifted(problem.loads, seed + 100, 0.3);
    shared += mean_of(peaks(*place("economy", problem), later, problem.seats));
    problem.options = policy_options("economy").value();
    even += mean_of(peaks(*place("economy", problem), later, problem.seats));
  }
  EXPECT_LT(shared - 20, 0.85 * (even - 20));
}

TEST(shared_layout, of_any_shape_is_legal_the_same_every_time_and_never_worse_than_staying) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 60; ++round) {
    const auto seats = 1 + static_cast<std::uint32_t>(random() % 12),
               experts = 1 + static_cast<std::uint32_t>(random() % 40);
    const auto slots = (experts + seats - 1) / seats + static_cast<std::uint32_t>(random() % 4);
    auto problem = problem_of(seats, slots, experts, round);
    for (auto& s : problem.seats) s.speed = random() % 2 == 0 ? 1.0 : 0.5 + static_cast<double>(random() % 4);
    const auto placed = place("economy", problem);
    ASSERT_TRUE(placed) << placed.error().text;
    ASSERT_TRUE(validate(*placed, 4, experts, problem.seats));
    problem.current = *placed;
    problem.loads = drifted(problem.loads, 1000 + round, 0.4);
    problem.options->write_price = 0.001;
    const auto next = place("economy", problem);
    ASSERT_TRUE(next) << next.error().text;
    ASSERT_TRUE(validate(*next, 4, experts, problem.seats));
    EXPECT_EQ(*next, *place("economy", problem));
    const auto before = peaks(*placed, problem.loads, problem.seats),
               after = peaks(*next, problem.loads, problem.seats);
    for (std::size_t l = 0; l < 4; ++l)
      EXPECT_LE(after[l], before[l] * (1 + 1e-4)) << "round " << round << " layer " << l;
  }
}

TEST(shared_layout, is_left_alone_where_it_is_good_enough_and_where_writes_cost_too_much) {
  auto problem = problem_of(8, 10, 64, 3);
  problem.current = *place("economy", problem);
  problem.loads = drifted(problem.loads, 9, 0.3);
  auto again = problem;
  again.options->write_price = 100;
  EXPECT_EQ(place("economy", again)->layers, problem.current->layers);
  again = problem;
  again.options->write_price = 0;
  again.target_imbalance = 3;
  EXPECT_EQ(place("economy", again)->layers, problem.current->layers);
}

}  // namespace
}  // namespace ballast::policies
