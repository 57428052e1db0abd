#include "policies/shares.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/policies/shapes.hpp"

namespace ballast::policies {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct layer_case {
  placement table;
  load_matrix loads;
  std::vector<seat_info> seats;
};

placement table_of(const std::vector<std::vector<std::uint32_t>>& seats_of_expert) {
  placement p;
  p.layers.resize(1);
  for (const auto& on : seats_of_expert) {
    auto& replicas = p.layers[0].emplace_back();
    for (const auto seat : on) replicas.push_back({seat_id{seat}, 0, 1.0 / static_cast<double>(on.size())});
  }
  return p;
}

// Any graph: experts on random sets of seats, some of them hot, some without load; speeds differ in half of the cases.
layer_case random_case(std::mt19937_64& random, std::uint32_t seats_max, std::uint32_t experts_max) {
  layer_case out;
  const auto seats = 1 + static_cast<std::uint32_t>(random() % seats_max);
  const auto experts = 1 + static_cast<std::uint32_t>(random() % experts_max);
  const bool uneven = random() % 2 == 0;
  out.seats = equal_seats(seats, experts);
  for (auto& s : out.seats) s.speed = uneven ? 0.5 + static_cast<double>(random() % 8) / 4 : 1.0;
  std::vector<std::vector<std::uint32_t>> on(experts);
  for (auto& where : on) {
    std::vector<std::uint32_t> all(seats);
    std::iota(all.begin(), all.end(), 0U);
    std::shuffle(all.begin(), all.end(), random);
    where.assign(all.begin(), all.begin() + 1 + static_cast<std::ptrdiff_t>(random() % std::min(seats, 3U)));
    std::sort(where.begin(), where.end());
  }
  out.table = table_of(on);
  std::lognormal_distribution<double> draw(0.0, 1.5);
  out.loads.emplace_back();
  for (std::uint32_t e = 0; e < experts; ++e) out.loads[0].push_back(random() % 8 == 0 ? 0.0 : draw(random));
  return out;
}

// The lowest peak there is, by its dual: over every set of seats, the work that has nowhere else to go.
double best_peak(const layer_case& c) {
  const auto seats = c.seats.size();
  double best = 0, total = 0, speeds = 0;
  for (const auto& s : c.seats) speeds += s.speed;
  for (const auto load : c.loads[0]) total += load;
  for (std::uint32_t set = 1; set < 1U << seats; ++set) {
    double load = 0, speed = 0;
    for (std::size_t s = 0; s < seats; ++s) speed += (set >> s & 1) != 0 ? c.seats[s].speed : 0;
    for (std::size_t e = 0; e < c.loads[0].size(); ++e) {
      const auto& on = c.table.layers[0][e];
      const bool only =
          std::all_of(on.begin(), on.end(), [&](const auto& r) { return (set >> index_of(r.seat) & 1) != 0; });
      load += only ? c.loads[0][e] : 0;
    }
    best = std::max(best, load / speed);
  }
  return total > 0 ? best * speeds / total : 1;
}

std::vector<double> seat_times(const placement& p, const load_matrix& loads, const std::vector<seat_info>& seats) {
  std::vector<double> times(seats.size());
  for (std::size_t e = 0; e < loads[0].size(); ++e) {
    for (const auto& r : p.layers[0][e])
      times[index_of(r.seat)] += loads[0][e] * r.share / seats[index_of(r.seat)].speed;
  }
  return times;
}

void expect_whole(const placement& p) {
  for (const auto& layer : p.layers) {
    for (const auto& replicas : layer) {
      double sum = 0;
      for (const auto& r : replicas) {
        EXPECT_GT(r.share, 0);
        EXPECT_LE(r.share, 1);
        sum += r.share;
      }
      EXPECT_NEAR(sum, 1, 1e-12);
    }
  }
}

TEST(shares, reach_the_best_peak_of_every_graph_and_prove_it) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; ++round) {
    const auto c = random_case(random, 8, 12);
    const auto solved = solve_shares(c.table, c.loads, c.seats);
    ASSERT_TRUE(solved) << solved.error().text;
    expect_whole(solved->table);
    const auto best = best_peak(c);
    const auto& proof = solved->layers[0];
    ASSERT_NEAR(proof.peak, best, 2e-5 * best) << "round " << round;
    ASSERT_NEAR(proof.bound, best, 1e-6 * best) << "round " << round;
    ASSERT_LE(proof.bound, proof.peak);
    ASSERT_LE(proof.bound, best * (1 + 1e-12)) << "round " << round;
    ASSERT_NEAR(proof.peak, std::max(1.0, imbalance(solved->table, c.loads, c.seats).layers[0]), 1e-9);
  }
}

TEST(shares, are_never_beaten_by_others) {
  std::mt19937_64 random(2);
  std::exponential_distribution<double> draw(1.0);
  for (int round = 0; round < 300; ++round) {
    const auto c = random_case(random, 40, 200);
    const auto solved = solve_shares(c.table, c.loads, c.seats);
    ASSERT_TRUE(solved);
    EXPECT_LE(solved->layers[0].peak, solved->layers[0].bound * (1 + 1e-4)) << "round " << round;
    for (int other = 0; other < 5; ++other) {
      auto p = c.table;
      for (auto& replicas : p.layers[0]) {
        double sum = 0;
        for (auto& r : replicas) sum += r.share = draw(random) + 1e-9;
        for (auto& r : replicas) r.share /= sum;
      }
      EXPECT_GE(imbalance(p, c.loads, c.seats).layers[0], solved->layers[0].bound - 1e-9);
    }
  }
}

// Nothing can be handed from a seat to one that is done sooner: so it is for the second busiest seat, too.
TEST(shares, leave_no_two_seats_that_could_be_evened_out) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 1000; ++round) {
    const auto c = random_case(random, 20, 60);
    const auto solved = solve_shares(c.table, c.loads, c.seats);
    ASSERT_TRUE(solved);
    const auto times = seat_times(solved->table, c.loads, c.seats);
    const double mean = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
    for (std::size_t e = 0; e < c.loads[0].size(); ++e) {
      for (const auto& from : solved->table.layers[0][e]) {
        for (const auto& to : solved->table.layers[0][e]) {
          if (from.share < 1e-4 || c.loads[0][e] == 0) continue;
          EXPECT_LE(times[index_of(from.seat)], times[index_of(to.seat)] + 1e-4 * mean) << "round " << round;
        }
      }
    }
  }
}

TEST(shares, are_the_same_every_time_and_for_any_number_of_threads) {
  std::mt19937_64 random(4);
  placement_problem problem;
  problem.layers = 7;
  problem.experts = 64;
  problem.redundant = 16;
  problem.seats = equal_seats(16, 5);
  problem.loads = skewed_loads(7, 64, 1);
  const auto placed = *place("economy", problem);
  const auto loads = skewed_loads(7, 64, 2);
  const auto one = solve_shares(placed, loads, problem.seats);
  ASSERT_TRUE(one);
  EXPECT_TRUE(validate(one->table, 7, 64, problem.seats));
  EXPECT_EQ(one->table.version, placed.version);
  EXPECT_EQ(one->table, solve_shares(placed, loads, problem.seats)->table);
  EXPECT_EQ(one->table, solve_shares(placed, loads, problem.seats, {.threads = 3})->table);
}

TEST(shares, are_as_good_whatever_the_seats_are_called) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 300; ++round) {
    const auto c = random_case(random, 20, 60);
    std::vector<std::uint32_t> name(c.seats.size());
    std::iota(name.begin(), name.end(), 100U);
    std::shuffle(name.begin(), name.end(), random);
    auto other = c;
    for (auto& s : other.seats) s.seat = seat_id{name[index_of(s.seat)]};
    for (auto& replicas : other.table.layers[0]) {
      for (auto& r : replicas) r.seat = seat_id{name[index_of(r.seat)]};
      std::sort(replicas.begin(), replicas.end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
    }
    const auto one = solve_shares(c.table, c.loads, c.seats), two = solve_shares(other.table, other.loads, other.seats);
    ASSERT_TRUE(one && two);
    EXPECT_NEAR(one->layers[0].peak, two->layers[0].peak, 1e-5 * one->layers[0].peak);
  }
}

TEST(shares, follow_the_speed_of_the_seats) {
  const auto p = table_of({{0, 1}});
  auto seats = equal_seats(2, 1);
  seats[1].speed = 3;
  const auto solved = solve_shares(p, {{100}}, seats);
  EXPECT_NEAR(solved->table.layers[0][0][0].share, 0.25, 1e-6);
  EXPECT_NEAR(solved->layers[0].peak, 1, 1e-6);
}

TEST(shares, of_a_replica_that_should_get_nothing_are_as_small_as_asked) {
  const auto p = table_of({{0}, {0, 1}});
  const auto solved = solve_shares(p, {{10, 1}}, equal_seats(2, 2), {.least = 0.01});
  EXPECT_DOUBLE_EQ(solved->table.layers[0][1][0].share, 0.01);
  EXPECT_DOUBLE_EQ(solved->table.layers[0][1][1].share, 0.99);
  EXPECT_NEAR(solved->layers[0].bound, 10 / 5.5, 1e-9);
  EXPECT_NEAR(solved->layers[0].peak, 10.01 / 5.5, 1e-9);
}

TEST(shares, are_as_even_as_asked) {
  const auto p = table_of({{0}, {0, 1}});
  const auto solved = solve_shares(p, {{10, 10}}, equal_seats(2, 2), {.even = 0.5});
  EXPECT_NEAR(solved->table.layers[0][1][0].share, 0.25, 1e-6);
  EXPECT_NEAR(solved->layers[0].peak, 1.25, 1e-6);
  EXPECT_NEAR(solved->layers[0].bound, 1, 1e-9);
}

TEST(shares, are_even_where_there_is_no_load) {
  const auto p = table_of({{0, 1}, {0, 1, 2}});
  const auto solved = solve_shares(p, {{0, 0}}, equal_seats(3, 2));
  EXPECT_EQ(solved->table, p);
  EXPECT_EQ(solved->layers[0].peak, 1);
  EXPECT_EQ(solved->layers[0].bound, 1);
}

TEST(shares, of_replicas_on_other_seats_stay_as_they_are) {
  auto p = table_of({{0, 1, 7}, {0}});
  p.layers[0][0][2].share = 0.5;
  const auto solved = solve_shares(p, {{100, 10}}, equal_seats(2, 2));
  EXPECT_NEAR(solved->table.layers[0][0][0].share, 0.2, 1e-6);
  EXPECT_NEAR(solved->table.layers[0][0][1].share, 0.3, 1e-6);
  EXPECT_EQ(solved->table.layers[0][0][2].share, 0.5);
  EXPECT_NEAR(solved->layers[0].peak, imbalance(solved->table, {{100, 10}}, equal_seats(2, 2)).layers[0], 1e-9);
}

TEST(shares, say_what_is_wrong_with_the_question) {
  const auto p = table_of({{0, 1}});
  auto seats = equal_seats(2, 1);
  const auto text = [&](const load_matrix& loads, share_options options = {}) {
    const auto solved = solve_shares(p, loads, seats, options);
    return solved ? std::string("fine") : solved.error().text;
  };
  EXPECT_EQ(text({{1}}), "fine");
  EXPECT_THAT(text({{1}, {1}}), HasSubstr("1 layers, the loads 2"));
  EXPECT_THAT(text({{1, 1}}), HasSubstr("layer 0 has 1 experts, its loads 2"));
  EXPECT_THAT(text({{-1}}), HasSubstr("layer 0 has a load that is no number >= 0"));
  EXPECT_THAT(text({{std::nan("")}}), HasSubstr("no number >= 0"));
  EXPECT_THAT(text({{1}}, {.gap = -1}), HasSubstr("gap"));
  EXPECT_THAT(text({{1}}, {.least = 0}), HasSubstr("least"));
  EXPECT_THAT(text({{1}}, {.even = 2}), HasSubstr("even"));
  seats[1].speed = 0;
  EXPECT_THAT(text({{1}}), HasSubstr("speed of seat 1"));
  seats[1] = seats[0];
  EXPECT_THAT(text({{1}}), HasSubstr("seat 0 is named twice"));
  seats.clear();
  EXPECT_THAT(text({{1}}), HasSubstr("no seats"));
}

}  // namespace
}  // namespace ballast::policies
