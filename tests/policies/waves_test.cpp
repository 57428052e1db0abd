#include "policies/waves.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <utility>

#include "tests/policies/shapes.hpp"
#include "tests/policies/wave_checker.hpp"

namespace ballast::policies {
namespace {

using namespace testing;
using ::testing::HasSubstr;

using rng = std::mt19937_64;

std::uint32_t draw(rng& random, std::uint32_t least, std::uint32_t most) {
  return least + static_cast<std::uint32_t>(random() % (most - least + 1));
}

// Any legal placement on these seats: random places, slots and shares; `fill` of the free slots taken by redundant
// copies.
placement random_placement(rng& random, std::uint32_t layers, std::uint32_t experts,
                           const std::vector<seat_info>& seats, double fill) {
  placement p;
  p.version = random() % 100;
  p.layers.assign(layers, layer_placement(experts));
  for (auto& layer : p.layers) {
    std::vector<std::vector<std::uint32_t>> slots;
    for (const auto& s : seats) {
      std::vector<std::uint32_t> free(slot_entries(s.capacity));
      std::iota(free.begin(), free.end(), 0U);
      std::shuffle(free.begin(), free.end(), random);
      free.resize(std::min(s.capacity.slots_per_layer, experts));
      slots.push_back(std::move(free));
    }
    const auto put = [&](std::uint32_t e) {
      std::vector<std::size_t> open;
      for (std::size_t s = 0; s < seats.size(); ++s) {
        const bool there =
            std::any_of(layer[e].begin(), layer[e].end(), [&](const auto& r) { return r.seat == seats[s].seat; });
        if (!slots[s].empty() && !there) open.push_back(s);
      }
      if (open.empty()) return;
      const auto s = open[random() % open.size()];
      layer[e].push_back({seats[s].seat, slots[s].back(), 1.0});
      slots[s].pop_back();
    };
    for (std::uint32_t e = 0; e < experts; ++e) put(e);
    std::size_t left = 0;
    for (const auto& s : slots) left += s.size();
    for (auto extra = static_cast<std::size_t>(fill * static_cast<double>(left)); extra > 0; --extra)
      put(draw(random, 0, experts - 1));
    for (auto& row : layer) {
      std::sort(row.begin(), row.end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
      if (row.size() == 2)
        row[0].share = 0.25, row[1].share = 0.75;
      else
        for (auto& r : row) r.share = 1.0 / static_cast<double>(row.size());
    }
  }
  return p;
}

struct scene {
  std::uint32_t layers = 0, experts = 0;
  std::vector<seat_info> seats, before, after;  // all; those that base and target live on
  placement base, target;
};

bool holds_all(const std::vector<seat_info>& seats, std::uint32_t experts) {
  std::uint32_t usable = 0;
  for (const auto& s : seats) usable += std::min(s.capacity.slots_per_layer, experts);
  return usable >= experts;
}

// 1 to 16 seats with uneven slots and one spare page each; some leave, some join.
scene random_scene(rng& random) {
  scene out;
  while (true) {
    const auto count = draw(random, 1, 16);
    out = {draw(random, 1, 3), draw(random, 1, 20), {}, {}, {}, {}, {}};
    const bool changes = random() % 2 == 0;
    for (std::uint32_t s = 0; s < count; ++s) {
      const seat_info seat{seat_id{s * 2}, s / 4, 1.0, {draw(random, 1, 8), 1}};
      out.seats.push_back(seat);
      const auto role = changes ? random() % 5 : 4;
      if (role != 0) out.before.push_back(seat);
      if (role != 1) out.after.push_back(seat);
    }
    if (holds_all(out.before, out.experts) && holds_all(out.after, out.experts)) break;
  }
  const auto fill = [&] { return random() % 3 == 0 ? static_cast<double>(random() % 5) / 4 : 1.0; };
  out.base = random_placement(random, out.layers, out.experts, out.before, fill());
  out.target = random_placement(random, out.layers, out.experts, out.after, fill());
  return out;
}

std::string run(const wave_plan& plan, wave_checker& checker) {
  for (std::size_t w = 0; w < plan.waves.size(); ++w) {
    if (plan.waves.size() > 1 && plan.waves[w].adds.empty() && plan.waves[w].drops.empty()) return "an idle wave";
    if (auto fault = checker.check(plan.waves[w]); !fault.empty()) return "wave " + std::to_string(w) + ": " + fault;
  }
  return checker.check_end();
}

// The fewest waves that the spare pages allow on any seat.
std::size_t least_waves(const scene& s) {
  std::map<seat_id, std::size_t> adds, used;
  for (std::size_t l = 0; l < s.layers; ++l) {
    for (std::size_t e = 0; e < s.experts; ++e) {
      for (const auto& r : s.base.layers[l][e]) ++used[r.seat];
      for (const auto& r : s.target.layers[l][e]) {
        const auto& row = s.base.layers[l][e];
        adds[r.seat] += std::none_of(row.begin(), row.end(), [&](const auto& o) { return o.seat == r.seat; });
      }
    }
  }
  std::size_t least = 0;
  for (const auto& seat : s.seats) {
    const auto spare = s.layers * seat.capacity.slots_per_layer + seat.capacity.spare_pages - used[seat.seat];
    least = std::max(least, adds[seat.seat] == 0 ? 0 : adds[seat.seat] <= spare ? std::size_t{1} : std::size_t{2});
  }
  return least;
}

class random_pairs : public ::testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(ten_thousand, random_pairs, ::testing::Values(1, 2001, 4001, 6001, 8001));

TEST_P(random_pairs, of_placements_get_waves_that_keep_the_invariants) {
  std::size_t waves = 0, least = 0;
  for (std::uint64_t seed = GetParam(); seed < GetParam() + 2000; ++seed) {
    rng random(seed);
    const auto s = random_scene(random);
    ASSERT_TRUE(validate(s.base, s.layers, s.experts, s.before)) << "seed " << seed;
    ASSERT_TRUE(validate(s.target, s.layers, s.experts, s.after)) << "seed " << seed;
    wave_limits limits;
    if (seed % 7 == 0) limits.adds_per_seat = 1;
    const auto plan = plan_waves(s.base, s.target, s.seats, limits);
    ASSERT_TRUE(plan) << "seed " << seed << ": " << plan.error().text;
    wave_checker checker(s.base, s.target, s.seats);
    ASSERT_EQ(run(*plan, checker), "") << "seed " << seed;
    ASSERT_EQ(plan->copies, copies_between(s.base, s.target)) << "seed " << seed;
    waves += plan->waves.size();
    least += least_waves(s);
    if (limits.adds_per_seat == 0) continue;
    for (const auto& w : plan->waves) {
      std::map<seat_id, int> adds;
      for (const auto& t : w.adds) ASSERT_LE(++adds[t.seat], 1) << "seed " << seed;
    }
  }
  RecordProperty("waves", std::to_string(waves));
  RecordProperty("least", std::to_string(least));
}

// The hardest case: every page taken but one a seat, and no expert that could simply be dropped.
TEST(plan_waves, permutes_full_seats_without_any_redundant_copy) {
  double waves = 0, least = 0;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    rng random(seed);
    scene s;
    s.layers = draw(random, 1, 3);
    s.seats = equal_seats(draw(random, 2, 12), draw(random, 1, 4));
    s.experts = static_cast<std::uint32_t>(s.seats.size()) * s.seats[0].capacity.slots_per_layer;
    const auto base = random_placement(random, s.layers, s.experts, s.seats, 0);
    const auto target = random_placement(random, s.layers, s.experts, s.seats, 0);
    const auto plan = plan_waves(base, target, s.seats);
    ASSERT_TRUE(plan) << "seed " << seed << ": " << plan.error().text;
    wave_checker checker(base, target, s.seats);
    ASSERT_EQ(run(*plan, checker), "") << "seed " << seed;
    std::map<seat_id, int> adds;
    int busiest = 0;
    for (const auto& w : plan->waves) {
      for (const auto& t : w.adds) busiest = std::max(busiest, ++adds[t.seat]);
    }
    waves += static_cast<double>(plan->waves.size());
    least += busiest;  // one spare page a seat takes one copy a wave
  }
  EXPECT_LE(waves, 1.5 * least);
  RecordProperty("waves_over_least", std::to_string(waves / least));
}

TEST(plan_waves, can_turn_to_another_target_between_any_two_waves) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    rng random(seed);
    auto s = random_scene(random);
    const auto plan = plan_waves(s.base, s.target, s.seats);
    ASSERT_TRUE(plan);
    if (plan->waves.empty()) continue;
    const auto stop = plan->waves[random() % plan->waves.size()].after;
    const auto other = random_placement(random, s.layers, s.experts, s.before, 1.0);
    for (const placement* target : {&std::as_const(s.base), &other}) {  // back, or elsewhere
      const auto turned = plan_waves(stop, *target, s.seats);
      ASSERT_TRUE(turned) << "seed " << seed << ": " << turned.error().text;
      wave_checker checker(stop, *target, s.seats);
      ASSERT_EQ(run(*turned, checker), "") << "seed " << seed;
    }
  }
}

TEST(plan_waves, brings_lost_experts_back_without_sources) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    rng random(seed);
    const auto s = random_scene(random);
    const std::vector<seat_id> gone{s.before[random() % s.before.size()].seat};
    auto seats = s.after;
    std::erase_if(seats, [&](const auto& seat) { return seat.seat == gone[0]; });
    if (!holds_all(seats, s.experts)) continue;
    const auto left = without_seats(s.base, gone);
    const auto target = random_placement(random, s.layers, s.experts, seats, 1.0);
    const auto plan = plan_waves(left.left, target, s.seats);
    ASSERT_TRUE(plan) << "seed " << seed << ": " << plan.error().text;
    wave_checker checker(left.left, target, s.seats);
    ASSERT_EQ(run(*plan, checker), "") << "seed " << seed;
  }
}

// The checker itself: every kind of damage to a sound plan is seen.
TEST(wave_checker, sees_damaged_waves) {
  std::size_t tried = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    rng random(seed);
    const auto s = random_scene(random);
    const auto plan = plan_waves(s.base, s.target, s.seats);
    ASSERT_TRUE(plan);
    if (plan->waves.empty() || plan->waves[0].adds.empty()) continue;
    for (int kind = 0; kind < 7; ++kind) {
      auto damaged = *plan;
      auto& w = damaged.waves[0];
      auto& t = w.adds[random() % w.adds.size()];
      auto& row = w.after.layers[t.layer][t.expert];
      switch (kind) {
        case 0:
          t.slot = s.base.layers[t.layer][draw(random, 0, s.experts - 1)][0].slot + 100;
          break;
        case 1:
          row.clear();
          break;
        case 2:
          t.sources.push_back(t.seat);
          break;
        case 3:
          ++w.after.version;
          break;
        case 4:
          row[0].share /= 2;
          break;
        case 5:
          w.adds.push_back(t);
          break;
        default:
          w.drops.push_back({t.layer, t.seat, t.slot});
          break;
      }
      wave_checker checker(s.base, s.target, s.seats);
      EXPECT_NE(run(damaged, checker), "") << "seed " << seed << ", kind " << kind;
      ++tried;
    }
  }
  EXPECT_GT(tried, 500U);
}

placement row_of(const std::vector<std::vector<std::pair<std::uint32_t, std::uint32_t>>>& experts) {
  placement p;
  p.layers.resize(1);
  for (const auto& row : experts) {
    p.layers[0].emplace_back();
    for (const auto& [seat, slot] : row)
      p.layers[0].back().push_back({seat_id{seat}, slot, 1.0 / static_cast<double>(row.size())});
  }
  return p;
}

TEST(plan_waves, turns_a_ring_of_full_seats_in_one_wave) {
  const auto plan =
      plan_waves(row_of({{{0, 0}}, {{1, 0}}, {{2, 0}}}), row_of({{{1, 0}}, {{2, 0}}, {{0, 0}}}), equal_seats(3, 1));
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->waves.size(), 1U);
  EXPECT_EQ(plan->copies, 3U);
}

TEST(plan_waves, runs_independent_chains_side_by_side) {
  // Eight pairs of full seats exchange their experts, two a seat: one spare page allows one at a time, so two waves.
  std::vector<std::vector<std::pair<std::uint32_t, std::uint32_t>>> from, to;
  for (std::uint32_t s = 0; s < 16; ++s) {
    for (std::uint32_t i = 0; i < 2; ++i) {
      from.push_back({{s, i}});
      to.push_back({{s ^ 1U, i}});
    }
  }
  const auto plan = plan_waves(row_of(from), row_of(to), equal_seats(16, 2));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->waves.size(), 2U);
}

TEST(plan_waves, only_drops_or_reshares_where_nothing_is_to_be_brought) {
  const auto two = row_of({{{0, 0}, {1, 0}}, {{1, 1}}}), one = row_of({{{0, 0}}, {{1, 1}}});
  const auto seats = equal_seats(2, 2);
  auto plan = plan_waves(two, one, seats);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->waves.size(), 1U);
  EXPECT_TRUE(plan->waves[0].adds.empty());
  EXPECT_EQ(plan->waves[0].drops, (std::vector<drop>{{0, seat_id{1}, 0}}));
  auto other = two;
  other.layers[0][0][0].share = 0.1;
  other.layers[0][0][1].share = 0.9;
  plan = plan_waves(two, other, seats);
  ASSERT_EQ(plan->waves.size(), 1U);
  EXPECT_TRUE(plan->waves[0].adds.empty() && plan->waves[0].drops.empty());
  EXPECT_EQ(plan->waves[0].after.layers, other.layers);
  EXPECT_TRUE(plan_waves(two, two, seats)->waves.empty());
}

TEST(plan_waves, fills_a_joining_seat_in_one_wave_from_the_same_node_and_balanced_senders) {
  std::vector<std::vector<std::pair<std::uint32_t, std::uint32_t>>> from, to;
  for (std::uint32_t e = 0; e < 8; ++e) {  // every expert on all of seats 0..3; node 0 has seats 0, 1 and the joiner 4
    from.push_back({{0, e}, {1, e}, {2, e}, {3, e}});
    to.push_back({{0, e}, {1, e}, {2, e}, {3, e}, {4, e}});
  }
  auto seats = equal_seats(5, 8);
  seats[2].node = seats[3].node = 1;
  const auto plan = plan_waves(row_of(from), row_of(to), seats);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->waves.size(), 1U);
  EXPECT_EQ(plan->node_crossings, 0U);
  std::map<seat_id, int> sends;
  for (const auto& t : plan->waves[0].adds) ++sends[t.sources.at(0)];
  EXPECT_EQ(sends, (std::map<seat_id, int>{{seat_id{0}, 4}, {seat_id{1}, 4}}));
}

TEST(plan_waves, refuses_illegal_placements_and_what_no_page_is_spare_for) {
  const auto base = row_of({{{0, 0}}, {{1, 0}}}), target = row_of({{{1, 0}}, {{0, 0}}});
  auto seats = equal_seats(2, 1, 0);
  const auto stuck = plan_waves(base, target, seats);
  ASSERT_FALSE(stuck);
  EXPECT_EQ(stuck.error().code, errc::does_not_fit);
  EXPECT_THAT(stuck.error().text, HasSubstr("2 copies cannot be brought; seat 0 awaits 1"));
  seats = equal_seats(2, 1);
  auto bad = target;
  bad.layers[0][0].clear();
  EXPECT_THAT(plan_waves(base, bad, seats).error().text,
              HasSubstr("waves: target: placement: layer 0, expert 0 has no replica"));
  bad = base;
  bad.layers[0][0][0].slot = 9;
  EXPECT_EQ(plan_waves(bad, target, seats).error().code, errc::invalid_argument);
  EXPECT_EQ(plan_waves(base, target, equal_seats(1, 2)).error().code, errc::invalid_argument);
  bad = base;
  bad.model = 1;
  EXPECT_EQ(plan_waves(bad, target, seats).error().code, errc::invalid_argument);
  seats.push_back(seats[0]);
  EXPECT_EQ(plan_waves(base, target, seats).error().code, errc::invalid_argument);
}

TEST(plan_waves, works_without_spare_pages_where_seats_are_not_full) {
  const auto base = row_of({{{0, 0}}, {{0, 1}}}), target = row_of({{{1, 0}}, {{1, 1}}});
  const auto seats = equal_seats(2, 2, 0);
  const auto plan = plan_waves(base, target, seats);
  ASSERT_TRUE(plan);
  wave_checker checker(base, target, seats);
  EXPECT_EQ(run(*plan, checker), "");
}

}  // namespace
}  // namespace ballast::policies
