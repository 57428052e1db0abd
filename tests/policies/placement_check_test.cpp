#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/policies/shapes.hpp"

namespace ballast::policies {
namespace {

using namespace testing;
using ::testing::HasSubstr;

// Two layers, three experts, seats 0..2 with two slots and a spare page each; expert 1 is redundant.
placement good() {
  placement p;
  const layer_placement layer{
      {{seat_id{0}, 0, 1.0}}, {{seat_id{0}, 1, 0.25}, {seat_id{1}, 0, 0.75}}, {{seat_id{2}, 1, 1.0}}};
  p.layers = {layer, layer};
  return p;
}

TEST(validate, accepts_a_legal_placement) {
  const auto ok = validate(good(), 2, 3, equal_seats(3, 2));
  EXPECT_TRUE(ok) << ok.error().text;
}

TEST(validate, refuses_every_mutation_and_names_the_place) {
  const auto replica_at = [](placement& p, std::size_t e, std::size_t i) -> replica& { return p.layers[1][e][i]; };
  const std::vector<std::tuple<const char*, std::function<void(placement&)>, const char*>> mutations = {
      {"expert without replica", [](auto& p) { p.layers[1][2].clear(); }, "layer 1, expert 2 has no replica"},
      {"twice on a seat",
       [](auto& p) {
         p.layers[1][1][1] = {seat_id{0}, 2, 0.75};
       },
       "layer 1, expert 1, seat 0 holds the expert twice"},
      {"slot clash", [&](auto& p) { replica_at(p, 1, 0).slot = 0; },
       "layer 1, expert 1, seat 0: slot 0 holds two experts"},
      {"slot outside", [&](auto& p) { replica_at(p, 2, 0).slot = 3; }, "layer 1, expert 2, seat 2: slot 3 is outside"},
      {"share zero", [&](auto& p) { replica_at(p, 1, 0).share = 0; }, "share is not in (0, 1]"},
      {"share negative", [&](auto& p) { replica_at(p, 1, 0).share = -0.25; }, "share is not in (0, 1]"},
      {"share above one", [&](auto& p) { replica_at(p, 0, 0).share = 1.5; }, "share is not in (0, 1]"},
      {"share not a number", [&](auto& p) { replica_at(p, 0, 0).share = std::nan(""); }, "share is not in (0, 1]"},
      {"shares short of one", [&](auto& p) { replica_at(p, 1, 1).share = 0.5; },
       "layer 1, expert 1, seat 0 and its other replicas: shares do not sum"},
      {"unknown seat", [&](auto& p) { replica_at(p, 2, 0).seat = seat_id{7}; },
       "layer 1, expert 2, seat 7 is not among"},
      {"unsorted", [](auto& p) { std::swap(p.layers[1][1][0], p.layers[1][1][1]); }, "not in order"},
      {"layer missing", [](auto& p) { p.layers.pop_back(); }, "has 1 layers"},
      {"layer too many", [](auto& p) { p.layers.push_back(p.layers[0]); }, "has 3 layers"},
      {"expert missing", [](auto& p) { p.layers[1].pop_back(); }, "layer 1 has 2 experts"},
      {"expert too many",
       [](auto& p) {
         p.layers[1].push_back({{seat_id{1}, 1, 1.0}});
       },
       "layer 1 has 4 experts"},
      {"too many on a seat",
       [](auto& p) {
         p.layers[1][2] = {{seat_id{0}, 2, 1.0}};
       },
       "layer 1 has 3 replicas on seat 0, which holds 2"},
  };
  for (const auto& [name, mutate, text] : mutations) {
    auto p = good();
    mutate(p);
    const auto verdict = validate(p, 2, 3, equal_seats(3, 2));
    ASSERT_FALSE(verdict) << name;
    EXPECT_THAT(verdict.error().text, HasSubstr(text)) << name;
  }
}

TEST(validate, allows_spare_pages_only_between_waves) {
  auto p = good();
  p.layers[1][2] = {{seat_id{0}, 2, 1.0}};
  EXPECT_FALSE(validate(p, 2, 3, equal_seats(3, 2), true));
  EXPECT_TRUE(validate(p, 2, 3, equal_seats(3, 2), false));
  p.layers[0][2] = {{seat_id{0}, 2, 1.0}};  // one spare page cannot serve both layers
  const auto verdict = validate(p, 2, 3, equal_seats(3, 2), false);
  ASSERT_FALSE(verdict);
  EXPECT_THAT(verdict.error().text, HasSubstr("6 replicas on seat 0, whose pool has 5 pages"));
}

TEST(validate, refuses_random_damage) {
  placement_problem problem;
  problem.layers = 3;
  problem.experts = 12;
  problem.redundant = 6;
  problem.seats = equal_seats(3, 6);
  problem.loads = skewed_loads(3, 12, 5);
  const auto sound = *place("economy", problem);
  ASSERT_TRUE(validate(sound, 3, 12, problem.seats));
  std::mt19937_64 random(3);
  for (int round = 0; round < 3000; ++round) {
    auto p = sound;
    auto& replicas = p.layers[random() % 3][random() % 12];
    auto& r = replicas[random() % replicas.size()];
    switch (random() % 6) {
      case 0:
        replicas.erase(replicas.begin() + (&r - replicas.data()));
        break;  // a lost copy, or lost shares
      case 1:
        r.seat = seat_id{static_cast<std::uint32_t>(3 + random() % 5)};
        break;
      case 2:
        r.slot = static_cast<std::uint32_t>(7 + random() % 100);
        break;
      case 3:
        r.share *= 0.5;
        break;
      case 4:
        replicas.push_back(r);
        break;
      default:
        r.slot = (r.slot + 1 + static_cast<std::uint32_t>(random() % 5)) % 6;
        break;  // every slot is taken
    }
    ASSERT_FALSE(validate(p, 3, 12, problem.seats)) << "round " << round;
  }
}

TEST(imbalance, is_peak_over_average_of_load_by_share_and_speed) {
  auto p = good();
  auto seats = equal_seats(3, 2);
  const load_matrix loads{{10, 40, 50}, {0, 0, 0}};
  // seat 0: 10 + 0.25 * 40 = 20, seat 1: 30, seat 2: 50; average 100 / 3.
  auto report = imbalance(p, loads, seats);
  EXPECT_DOUBLE_EQ(report.layers[0], 1.5);
  EXPECT_DOUBLE_EQ(report.layers[1], 1.0);  // no load is balanced
  EXPECT_DOUBLE_EQ(report.mean, 1.25);
  EXPECT_DOUBLE_EQ(report.max, 1.5);
  EXPECT_DOUBLE_EQ(report.min, 1.0);
  seats[2].speed = 2.0;  // now 20, 30, 25 against 100 / 4
  report = imbalance(p, loads, seats);
  EXPECT_DOUBLE_EQ(report.layers[0], 1.2);
  EXPECT_DOUBLE_EQ(imbalance(p, {}, seats).max, 1.0);
}

TEST(without_seats, keeps_the_rest_and_names_the_orphans) {
  const auto [left, orphans] = without_seats(good(), {seat_id{0}});
  EXPECT_EQ(orphans, (std::vector<std::pair<std::uint32_t, std::uint32_t>>{{0, 0}, {1, 0}}));
  EXPECT_TRUE(left.layers[0][0].empty());
  EXPECT_EQ(left.layers[0][1], (std::vector<replica>{{seat_id{1}, 0, 1.0}}));
  EXPECT_EQ(left.layers[1][2], (std::vector<replica>{{seat_id{2}, 1, 1.0}}));
  EXPECT_TRUE(without_seats(good(), {seat_id{9}}).orphans.empty());
  EXPECT_EQ(without_seats(good(), {}).left, good());
}

}  // namespace
}  // namespace ballast::policies
