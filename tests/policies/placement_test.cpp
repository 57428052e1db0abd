#include "policies/placement.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "policies/eplb.hpp"
#include "policies/formats/load_records.hpp"
#include "policies/start_plan.hpp"
#include "tests/policies/shapes.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/rounds.hpp"

namespace ballast::policies {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

placement_problem problem_of(std::uint32_t layers, std::uint32_t experts, std::uint32_t redundant,
                             std::vector<seat_info> seats, std::uint64_t seed) {
  placement_problem problem;
  problem.layers = layers;
  problem.experts = experts;
  problem.redundant = redundant;
  problem.seats = std::move(seats);
  problem.loads = skewed_loads(layers, experts, seed);
  return problem;
}

void expect_legal(const placement& p, const placement_problem& problem) {
  const auto ok = validate(p, problem.layers, problem.experts, problem.seats);
  EXPECT_TRUE(ok) << ok.error().text;
}

void expect_slots_kept(const placement& before, const placement& after, const std::vector<seat_info>& seats) {
  for (std::size_t l = 0; l < after.layers.size(); ++l) {
    for (std::size_t e = 0; e < after.layers[l].size(); ++e) {
      for (const auto& r : after.layers[l][e]) {
        const auto seat = std::find_if(seats.begin(), seats.end(), [&](const auto& s) { return s.seat == r.seat; });
        for (const auto& old : before.layers[l][e]) {
          if (old.seat != r.seat || old.slot >= slot_entries(seat->capacity)) continue;
          EXPECT_EQ(old.slot, r.slot) << "layer " << l << ", expert " << e;
        }
      }
    }
  }
}

TEST(place_static, spare_copies_make_an_even_layout_no_worse) {
  for (const std::uint32_t seats : {2, 7, 8, 32}) {
    for (const std::uint32_t spare : {1, 2, 5}) {  // of a seat
      const std::uint32_t experts = 8 * seats;
      const auto bare = problem_of(200, experts, 0, equal_seats(seats, 8), 5);
      const auto with_spares = problem_of(200, experts, spare * seats, equal_seats(seats, 8 + spare), 5);
      const auto peak = [](const placement_problem& problem, const load_matrix& loads) {
        const auto placed = place("static", problem);
        expect_legal(*placed, problem);
        return imbalance(*placed, loads, problem.seats).mean;
      };
      const load_matrix even(200, std::vector<double>(experts, 1.0));
      EXPECT_NEAR(peak(with_spares, even), 1, 1e-9) << seats << " seats, " << spare << " spare copies each";
      EXPECT_LE(peak(with_spares, bare.loads), peak(bare, bare.loads)) << seats << " seats, " << spare;
    }
  }
}

// Any seats that hold the experts: gaps in the ids, unequal slots, speeds and nodes.
std::vector<seat_info> random_seats(std::mt19937_64& random, std::uint32_t experts) {
  std::vector<seat_info> seats;
  const auto least = 1 + random() % 6;
  std::uint32_t usable = 0, id = static_cast<std::uint32_t>(random() % 3);
  while (seats.size() < least || usable < experts) {
    const auto slots = static_cast<std::uint32_t>(random() % 12);
    usable += std::min(slots, experts);
    seats.push_back(
        {seat_id{id}, static_cast<std::uint32_t>(random() % 3), 0.5 + static_cast<double>(random() % 4), {slots, 1}});
    id += static_cast<std::uint32_t>(1 + random() % 2);
  }
  return seats;
}

TEST(eplb, gives_the_published_example) {
  const std::vector<double> first{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
  const std::vector<double> second{20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};
  EXPECT_THAT(eplb_physical_to_logical(first, 16, 4, 2, 8),
              ElementsAre(5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1));
  EXPECT_THAT(eplb_physical_to_logical(second, 16, 4, 2, 8),
              ElementsAre(7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1));
}

TEST(eplb, keeps_groups_on_one_node_only_where_nodes_are_equal) {
  const auto seats = [](std::vector<std::uint32_t> nodes) {
    std::vector<eplb_seat> out;
    for (const auto node : nodes) out.push_back({4, node, 1.0});
    return out;
  };
  EXPECT_TRUE(eplb_hierarchical(12, 4, seats({0, 0, 1, 1})));
  EXPECT_FALSE(eplb_hierarchical(12, 4, seats({0, 0, 1, 1, 2, 2})));  // 4 groups on 3 nodes
  EXPECT_FALSE(eplb_hierarchical(12, 4, seats({0, 0, 0, 1})));
  EXPECT_FALSE(eplb_hierarchical(12, 4, seats({0, 0, 0, 0})));
  EXPECT_FALSE(eplb_hierarchical(13, 4, seats({0, 0, 1, 1})));
}

TEST(eplb, never_puts_an_expert_twice_on_a_seat) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 2000; ++round) {
    const auto experts = static_cast<std::uint32_t>(2 + random() % 20);
    std::vector<eplb_seat> seats(1 + random() % 6);
    std::uint32_t total = 0;
    for (auto& s : seats) {
      s = {static_cast<std::uint32_t>(random() % (experts + 1)), static_cast<std::uint32_t>(random() % 2),
           1.0 + static_cast<double>(random() % 2)};
      total += s.quota;
    }
    if (total < experts) continue;
    std::vector<double> weights(experts);
    for (auto& w : weights) w = static_cast<double>(random() % 8 == 0 ? 1000 : random() % 20);
    const auto packed = eplb_layer(weights, 2, seats);
    std::vector<std::uint32_t> seen(experts);
    for (std::size_t s = 0; s < seats.size(); ++s) {
      ASSERT_EQ(packed[s].size(), seats[s].quota);
      auto sorted = packed[s];
      std::sort(sorted.begin(), sorted.end());
      ASSERT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
      for (const auto e : sorted) ++seen[e];
    }
    ASSERT_EQ(std::count(seen.begin(), seen.end(), 0U), 0);
  }
}

TEST(place, is_legal_for_any_shape_redundancy_speed_and_current) {
  std::mt19937_64 random(11);
  for (int round = 0; round < test::rounds(1500); ++round) {
    const auto layers = static_cast<std::uint32_t>(1 + random() % 3),
               experts = static_cast<std::uint32_t>(1 + random() % 24);
    auto problem = problem_of(layers, experts, static_cast<std::uint32_t>(random() % 40), {}, random());
    problem.groups = static_cast<std::uint32_t>(1 + random() % 4);
    problem.seats = random_seats(random, experts);
    if (random() % 6 == 0) problem.loads = load_matrix(layers, std::vector<double>(experts, 0.0));
    const auto first = place(policy_names()[random() % policy_names().size()], problem);
    ASSERT_TRUE(first) << first.error().text;
    expect_legal(*first, problem);
    problem.current = *first;
    if (random() % 3 != 0) problem.seats = random_seats(random, experts);
    problem.loads = skewed_loads(layers, experts, random());
    problem.redundant = static_cast<std::uint32_t>(random() % 40);
    for (const auto& policy : policy_names()) {
      const auto then = place(policy, problem);
      ASSERT_TRUE(then) << then.error().text;
      expect_legal(*then, problem);
      EXPECT_EQ(then->version, 2U);
      for (std::uint32_t l = 0; l < layers; ++l) EXPECT_LE(replica_count(then->layers[l]), experts + problem.redundant);
      expect_slots_kept(*first, *then, problem.seats);
    }
    if (::testing::Test::HasFailure()) FAIL() << "round " << round;
  }
}

TEST(place, uses_every_redundant_replica_that_fits) {
  for (const auto& policy : policy_names()) {
    const auto some = problem_of(2, 16, 5, equal_seats(4, 6), 3);
    EXPECT_EQ(replica_count(place(policy, some)->layers[0]), 21U) << policy;
    const auto too_many = problem_of(2, 16, 500, equal_seats(4, 6), 3);
    EXPECT_EQ(replica_count(place(policy, too_many)->layers[1]), 24U) << policy;
    const auto none = problem_of(2, 16, 0, equal_seats(3, 6), 3);
    EXPECT_EQ(replica_count(place(policy, none)->layers[1]), 16U) << policy;
  }
}

TEST(place, refuses_what_cannot_be_with_the_numbers) {
  auto problem = problem_of(2, 16, 4, equal_seats(3, 5), 3);
  const auto full = place("economy", problem);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, errc::does_not_fit);
  EXPECT_THAT(full.error().text, HasSubstr("16 experts a layer, but 3 seats hold 15"));
  EXPECT_THAT(place("best", problem).error().text, HasSubstr("there are economy, quality, fresh, static and deepseek"));
  EXPECT_EQ(place("best", problem).error().code, errc::not_found);
  const auto refused = [&](const std::function<void(placement_problem&)>& spoil) {
    auto spoilt = problem_of(2, 16, 4, equal_seats(4, 5), 3);
    spoil(spoilt);
    const auto got = place("deepseek", spoilt);
    return !got && got.error().code == errc::invalid_argument;
  };
  EXPECT_TRUE(refused([](auto& p) { p.seats.clear(); }));
  EXPECT_TRUE(refused([](auto& p) { p.seats[1].seat = p.seats[0].seat; }));
  EXPECT_TRUE(refused([](auto& p) { p.seats[1].speed = 0; }));
  EXPECT_TRUE(refused([](auto& p) { p.loads.pop_back(); }));
  EXPECT_TRUE(refused([](auto& p) { p.loads[1].pop_back(); }));
  EXPECT_TRUE(refused([](auto& p) { p.loads[1][2] = -1; }));
  EXPECT_TRUE(refused([](auto& p) { p.loads[1][2] = std::nan(""); }));
  EXPECT_TRUE(refused([](auto& p) { p.target_imbalance = 0.9; }));
  EXPECT_TRUE(refused([](auto& p) { p.current = placement{}; }));
  EXPECT_FALSE(refused([](auto&) {}));
}

TEST(place, does_not_depend_on_the_order_of_seats) {
  for (const auto& policy : policy_names()) {
    auto problem = problem_of(3, 48, 12, equal_seats(6, 10), 21);
    problem.seats[2].speed = 2;
    const auto one = place(policy, problem);
    std::reverse(problem.seats.begin(), problem.seats.end());
    EXPECT_EQ(*one, *place(policy, problem)) << policy;
    problem.current = *one;
    problem.loads = skewed_loads(3, 48, 22);
    const auto two = place(policy, problem);
    std::swap(problem.seats[0], problem.seats[3]);
    EXPECT_EQ(*two, *place(policy, problem)) << policy;
    EXPECT_EQ(*two, *place(policy, problem)) << policy << " twice";
  }
}

TEST(place_economy, is_never_worse_than_staying_put) {
  std::mt19937_64 random(17);
  for (int round = 0; round < 300; ++round) {
    const auto seats = static_cast<std::uint32_t>(2 + random() % 7);
    auto problem =
        problem_of(2, 24, static_cast<std::uint32_t>(random() % 16), equal_seats(seats, 24 / seats + 2), random());
    problem.current = *place(random() % 2 == 0 ? "deepseek" : "economy", problem);
    for (auto& expert : problem.current->layers[0]) {  // shares that no policy would choose
      if (expert.size() == 2) expert[0].share = 0.8, expert[1].share = 0.2;
    }
    problem.loads = skewed_loads(2, 24, random());
    const auto after = place("economy", problem);
    const auto was = imbalance(*problem.current, problem.loads, problem.seats),
               is = imbalance(*after, problem.loads, problem.seats);
    for (std::size_t l = 0; l < 2; ++l) EXPECT_LE(is.layers[l], was.layers[l] + 1e-9);
  }
}

TEST(place_economy, leaves_layers_under_target_untouched) {
  auto problem = problem_of(4, 32, 8, equal_seats(4, 10), 31);
  problem.current = *place("economy", problem);
  for (auto& load : problem.loads[2])
    load = std::floor(load * (1 + 0.5 * static_cast<double>(&load - problem.loads[2].data()) / 32));
  const auto after = place("economy", problem);
  for (const auto l : {0U, 1U, 3U}) EXPECT_EQ(after->layers[l], problem.current->layers[l]);
}

TEST(place_economy, moves_little_where_little_changed) {
  auto problem = problem_of(4, 128, 16, equal_seats(4, 36), 41);
  problem.current = *place("economy", problem);
  std::mt19937_64 random(2);
  for (auto& row : problem.loads) {
    for (auto& load : row) load *= 0.8 + 0.4 * static_cast<double>(random() % 1000) / 1000;
  }
  const auto after = place("economy", problem);
  EXPECT_LE(imbalance(*after, problem.loads, problem.seats).max, 1.02);
  EXPECT_LE(copies_between(*problem.current, *after), 4U * 144U * 2U / 100U);  // 2 % of the slots
}

TEST(place_economy, fills_new_seats_and_empties_leaving_ones) {
  auto problem = problem_of(4, 64, 16, equal_seats(4, 24), 51);
  problem.current = *place("economy", problem);
  auto six = problem;
  six.seats = equal_seats(6, 24);
  const auto grown = place("economy", six);
  EXPECT_LE(imbalance(*grown, six.loads, six.seats).max, 1.02);
  // Every layer must bring about a third of its replicas to the new seats; not much more may move.
  EXPECT_LE(copies_between(*six.current, *grown), 4U * 80U / 2U);
  six.current = *grown;
  six.seats.erase(six.seats.begin() + 2);  // a middle seat leaves, two more with it
  six.seats.pop_back();
  six.seats.pop_back();
  const auto shrunk = place("economy", six);
  expect_legal(*shrunk, six);
  EXPECT_LE(imbalance(*shrunk, six.loads, six.seats).max, 1.02);
}

TEST(place_economy, puts_load_where_the_speed_is) {
  auto problem = problem_of(4, 64, 8, equal_seats(4, 36), 61);
  problem.seats[0].speed = 2.0;
  for (const auto& policy : policy_names()) {
    const auto p = place(policy, problem);
    if (policy == "static") continue;  // looks at no load
    EXPECT_LE(imbalance(*p, problem.loads, problem.seats).max, policy == "deepseek" ? 1.06 : 1.02) << policy;
  }
}

// Plans from each interval of a recording and looks at that interval and at the next.
struct replay_result {
  double planned = 0, next = 0, moved = 0;
};
replay_result replay(const std::string& policy, const load_recording& recording, const std::vector<seat_info>& seats,
                     std::uint32_t redundant) {
  placement_problem problem;
  problem.layers = recording.meta.layers;
  problem.experts = recording.meta.experts;
  problem.groups = recording.meta.groups;
  problem.redundant = redundant;
  problem.seats = seats;
  const auto interval = [&](std::size_t number) {
    load_matrix sum;
    for (std::size_t i = number * 8; i < number * 8 + 8; ++i) add_loads(sum, recording.records[i].tokens);
    return sum;
  };
  replay_result out;
  const auto intervals = recording.records.size() / 8;
  for (std::size_t i = 0; i + 1 < intervals; ++i) {
    problem.loads = interval(i);
    problem.history.parts.clear();
    for (std::size_t k = i * 8; k < i * 8 + 8; ++k) problem.history.parts.push_back(recording.records[k].tokens);
    if (i > 0) problem.history.intervals.push_back(interval(i - 1));
    const auto p = place(policy, problem);
    if (i > 0) {
      const auto count = static_cast<double>(intervals - 2);
      out.planned += imbalance(*p, problem.loads, seats).mean / count;
      out.next += imbalance(*p, interval(i + 1), seats).mean / count;
      out.moved += static_cast<double>(copies_between(*problem.current, *p)) /
                   (problem.layers * (problem.experts + redundant)) / count;
    }
    problem.current = *p;
  }
  return out;
}

TEST(place, keeps_apart_what_heated_up_together_before) {
  auto problem = problem_of(1, 8, 0, equal_seats(2, 4), 1);
  problem.loads = {load_matrix::value_type(8, 10.0)};
  problem.history.parts = {problem.loads};
  problem.history.intervals = {problem.loads, problem.loads};
  const auto seat_of = [](const placement& p, std::size_t e) { return p.layers[0][e][0].seat; };
  const auto calm = place("fresh", problem);
  ASSERT_TRUE(calm);
  std::size_t other = 1;
  while (seat_of(*calm, other) != seat_of(*calm, 0)) ++other;
  auto& hot = problem.history.intervals[1][0];
  hot[0] = hot[other] = 15;
  const auto wary = place("fresh", problem);
  ASSERT_TRUE(wary);
  EXPECT_NE(seat_of(*wary, other), seat_of(*wary, 0));
  EXPECT_EQ(imbalance(*wary, problem.loads, problem.seats).max, 1);
}

TEST(place_on_recorded_loads, balances_the_window_and_the_interval_after_it) {
  const auto qwen = read_load_records(test_data("qwen30-drift-s1-8l.jsonl.gz"));
  ASSERT_TRUE(qwen);
  for (const auto& policy : policy_names()) {
    const auto got = replay(policy, *qwen, equal_seats(4, 36), 16);
    RecordProperty(policy + "_planned", std::to_string(got.planned));
    RecordProperty(policy + "_next", std::to_string(got.next));
    RecordProperty(policy + "_moved", std::to_string(got.moved));
    if (policy == "static") {
      EXPECT_EQ(got.moved, 0);
      continue;
    }
    EXPECT_LE(got.planned, 1.05) << policy;
    EXPECT_LE(got.next, 1.10) << policy;
    EXPECT_LE(got.moved, policy == "economy" ? 0.01 : policy == "quality" ? 0.03 : 1.0) << policy;
  }
}

TEST(place_on_recorded_loads, stays_balanced_when_a_topic_takes_over) {
  const auto small = read_load_records(test_data("small-shift-s3.jsonl.gz"));
  ASSERT_TRUE(small);
  const auto four = replay("economy", *small, equal_seats(4, 8), 16);
  EXPECT_LE(four.planned, 1.05);
  const auto shift = read_load_records(test_data("dsv3-shift-s1-4l.jsonl.gz"));
  ASSERT_TRUE(shift);
  const auto many = replay("economy", *shift, equal_seats(32, 9), 32);
  EXPECT_LE(many.planned, 1.05);
  EXPECT_LE(many.next, 1.12);
  EXPECT_LE(many.moved, 0.03);
  RecordProperty("small_planned", std::to_string(four.planned));
  RecordProperty("small_next", std::to_string(four.next));
  RecordProperty("dsv3_planned", std::to_string(many.planned));
  RecordProperty("dsv3_next", std::to_string(many.next));
  RecordProperty("dsv3_moved", std::to_string(many.moved));
}

}  // namespace
}  // namespace ballast::policies
