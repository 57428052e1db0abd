// The planner as other programs call it: through the shared library and its C interface.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "policies/c_api/ballast_policies.h"

namespace {

using ::testing::Each;
using ::testing::HasSubstr;

struct options_free {
  void operator()(ballast_options* options) const { ballast_options_free(options); }
};
using options_handle = std::unique_ptr<ballast_options, options_free>;

options_handle options_of(const char* policy) {
  ballast_error error{};
  options_handle options(ballast_options_new(policy, &error));
  EXPECT_TRUE(options) << error.text;
  return options;
}

// A cluster of equal ranks with loads that differ a lot, and what a call needs to plan for them.
struct problem {
  std::vector<std::uint32_t> slots;
  std::vector<double> loads;
  ballast_shape shape{};
  ballast_loads seen{};
  std::vector<std::int32_t> map;
  ballast_error error{};

  problem(std::uint32_t layers, std::uint32_t experts, std::uint32_t ranks, std::uint32_t slots_per_rank)
      : slots(ranks, slots_per_rank),
        loads(std::size_t{layers} * experts),
        map(std::size_t{layers} * ranks * slots_per_rank, -7) {
    shape.size = sizeof shape;
    shape.layers = layers;
    shape.experts = experts;
    shape.groups = 1;
    shape.ranks = ranks;
    shape.slots = slots.data();
    heat(1);
    seen.size = sizeof seen;
    seen.last = loads.data();
  }
  problem(const problem&) = delete;

  void heat(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> draw(6, 0.8);
    for (auto& load : loads) load = std::floor(draw(random));
  }
  ballast_status plan(const ballast_options* options, bool from_map = false, ballast_summary* summary = nullptr) {
    return ballast_plan(&shape, options, &seen, from_map ? map.data() : nullptr, map.data(), summary, &error);
  }
  std::vector<double> peaks(const double* shares = nullptr) {
    std::vector<double> out(shape.layers);
    EXPECT_EQ(ballast_peaks(&shape, map.data(), shares, loads.data(), out.data(), &error), BALLAST_OK) << error.text;
    return out;
  }
};

TEST(c_api, every_policy_gives_a_legal_map) {
  for (const char* policy : {"economy", "quality", "fresh", "static", "deepseek"}) {
    problem p(3, 32, 8, 5);
    ASSERT_EQ(p.plan(options_of(policy).get()), BALLAST_OK) << policy << ": " << p.error.text;
    EXPECT_EQ(ballast_validate(&p.shape, p.map.data(), &p.error), BALLAST_OK) << policy << ": " << p.error.text;
    EXPECT_THAT(p.map, Each(::testing::AllOf(::testing::Ge(0), ::testing::Lt(32)))) << policy;
  }
}

TEST(c_api, economy_moves_little_and_leaves_what_stays_in_its_slot) {
  problem p(4, 64, 8, 9);
  ASSERT_EQ(p.plan(options_of("fresh").get()), BALLAST_OK) << p.error.text;
  const auto before = p.map;
  for (std::size_t e = 0; e < p.loads.size(); e += 3) p.loads[e] *= 1.5;
  ballast_summary summary{};
  summary.size = sizeof summary;
  ASSERT_EQ(p.plan(options_of("economy").get(), true, &summary), BALLAST_OK) << p.error.text;
  std::uint64_t changed = 0;
  for (std::size_t k = 0; k < p.map.size(); ++k) changed += p.map[k] != before[k];
  EXPECT_GT(changed, 0u);
  EXPECT_LT(changed, p.map.size() / 5);
  EXPECT_EQ(summary.moves, changed);
  EXPECT_LT(summary.peak_after, summary.peak_before);
  EXPECT_GE(summary.peak_most, summary.peak_after);
}

TEST(c_api, speeds_nodes_earlier_loads_and_unequal_slots_count) {
  problem p(2, 24, 4, 0);
  p.slots = {6, 6, 9, 9};
  p.map.assign(2 * 30, -7);
  const std::vector<double> speeds{1, 1, 3, 3};
  const std::vector<std::uint32_t> nodes{0, 0, 1, 1};
  p.shape.speeds = speeds.data();
  p.shape.nodes = nodes.data();
  std::vector<double> half(p.loads);
  half.insert(half.end(), p.loads.begin(), p.loads.end());
  for (auto& load : half) load /= 2;
  p.seen.parts = half.data();
  p.seen.part_count = 2;
  p.seen.intervals = p.loads.data();
  p.seen.interval_count = 1;
  ASSERT_EQ(p.plan(options_of("fresh").get()), BALLAST_OK) << p.error.text;
  double fast = 0, all = 0;
  for (std::uint32_t layer = 0; layer < 2; ++layer) {
    const auto* row = p.map.data() + layer * 30;
    for (int k = 0; k < 30; ++k) {
      if (row[k] < 0) continue;
      const auto load = p.loads[layer * 24 + static_cast<std::size_t>(row[k])] /
                        static_cast<double>(std::count(row, row + 30, row[k]));
      all += load;
      fast += k >= 12 ? load : 0;
    }
  }
  EXPECT_NEAR(fast / all, 0.75, 0.02);
}

TEST(c_api, shares_lower_the_peak_and_say_how_far_it_can_fall) {
  problem p(3, 32, 8, 5);
  ASSERT_EQ(p.plan(options_of("fresh").get()), BALLAST_OK) << p.error.text;
  for (std::size_t e = 0; e < p.loads.size(); e += 2) p.loads[e] *= 2;
  std::vector<double> shares(p.map.size()), reached(3), bounds(3);
  ASSERT_EQ(ballast_solve_shares(&p.shape, nullptr, p.map.data(), p.loads.data(), shares.data(), reached.data(),
                                 bounds.data(), &p.error),
            BALLAST_OK)
      << p.error.text;
  const auto even = p.peaks(), solved = p.peaks(shares.data());
  for (std::size_t layer = 0; layer < 3; ++layer) {
    EXPECT_LT(solved[layer], even[layer]);
    EXPECT_NEAR(solved[layer], reached[layer], 1e-5);
    EXPECT_GE(reached[layer] * (1 + 1e-9), bounds[layer]);
  }
}

TEST(c_api, says_in_one_line_what_is_wrong_and_leaves_the_output_alone) {
  problem p(2, 32, 4, 9);
  const auto economy = options_of("economy");
  const auto untouched = p.map;
  const auto expect_error = [&](ballast_status got, ballast_status wanted, const char* text) {
    EXPECT_EQ(got, wanted);
    EXPECT_EQ(p.error.status, wanted);
    EXPECT_THAT(p.error.text, HasSubstr(text));
    EXPECT_EQ(std::strchr(p.error.text, '\n'), nullptr);
    EXPECT_EQ(p.map, untouched);
  };
  p.loads[40] = std::numeric_limits<double>::quiet_NaN();
  expect_error(p.plan(economy.get()), BALLAST_INVALID_ARGUMENT, "layer 1, expert 8");
  p.heat(1);
  p.slots[0] = 2;
  expect_error(p.plan(economy.get()), BALLAST_DOES_NOT_FIT,
               "32 experts a layer, but 4 ranks hold 29; add ranks or slots");
  p.slots[0] = 9;
  const std::vector<double> speeds{1, 1, 0, 1};
  p.shape.speeds = speeds.data();
  expect_error(p.plan(economy.get()), BALLAST_INVALID_ARGUMENT, "speed of rank 2");
  p.shape.speeds = nullptr;
  std::vector<std::int32_t> current(untouched.size(), 0);
  current[40] = 32;
  expect_error(ballast_plan(&p.shape, economy.get(), &p.seen, current.data(), p.map.data(), nullptr, &p.error),
               BALLAST_INVALID_ARGUMENT, "layer 1, rank 0, slot 4 names expert 32");
  expect_error(ballast_plan(nullptr, economy.get(), &p.seen, nullptr, p.map.data(), nullptr, &p.error),
               BALLAST_INVALID_ARGUMENT, "shape is null");
  p.shape.size = 0;
  expect_error(p.plan(economy.get()), BALLAST_INVALID_ARGUMENT, "sizeof(ballast_shape)");
  EXPECT_EQ(ballast_plan(&p.shape, economy.get(), &p.seen, nullptr, p.map.data(), nullptr, nullptr),
            BALLAST_INVALID_ARGUMENT);
}

TEST(c_api, a_map_with_a_missing_or_a_doubled_expert_is_mended_but_not_valid) {
  problem p(1, 8, 4, 3);
  p.map = {0, 0, 1, 2, 3, -1, 4, 5, -1, 6, -1, -1};
  EXPECT_EQ(ballast_validate(&p.shape, p.map.data(), &p.error), BALLAST_INVALID_ARGUMENT);
  EXPECT_THAT(p.error.text, HasSubstr("map: layer 0, expert 0 is twice on rank 0, slots 0 and 1"));
  const std::vector<std::int32_t> without{0, -1, 1, 2, 3, -1, 4, 5, -1, 6, -1, -1};
  EXPECT_EQ(ballast_validate(&p.shape, without.data(), &p.error), BALLAST_INVALID_ARGUMENT);
  EXPECT_THAT(p.error.text, HasSubstr("map: layer 0, expert 7 has no slot"));
  ASSERT_EQ(p.plan(options_of("economy").get(), true), BALLAST_OK) << p.error.text;
  EXPECT_EQ(ballast_validate(&p.shape, p.map.data(), &p.error), BALLAST_OK) << p.error.text;
}

TEST(c_api, options_are_checked_by_name_and_value) {
  ballast_error error{};
  EXPECT_EQ(ballast_options_new("best", &error), nullptr);
  EXPECT_EQ(error.status, BALLAST_NOT_FOUND);
  EXPECT_THAT(error.text, HasSubstr("economy, quality"));
  const auto economy = options_of("economy"), deepseek = options_of("deepseek");
  EXPECT_EQ(ballast_options_set(economy.get(), "write_price", 0.5, &error), BALLAST_OK) << error.text;
  EXPECT_EQ(ballast_options_set(economy.get(), "price", 0.5, &error), BALLAST_NOT_FOUND);
  EXPECT_THAT(error.text, HasSubstr("write_price, "));
  EXPECT_EQ(ballast_options_set(economy.get(), "threads", 1.5, &error), BALLAST_INVALID_ARGUMENT);
  EXPECT_THAT(error.text, HasSubstr("a whole number of 1 to 1024"));
  EXPECT_EQ(ballast_options_set(economy.get(), "write_price", std::nan(""), &error), BALLAST_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_options_set(deepseek.get(), "write_price", 0.5, &error), BALLAST_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_options_set(nullptr, "write_price", 0.5, &error), BALLAST_INVALID_ARGUMENT);
}

TEST(c_api, options_change_the_plan) {
  problem dear(2, 64, 8, 9), cheap(2, 64, 8, 9);
  ballast_summary summary{};
  summary.size = sizeof summary;
  std::uint64_t moves[2];
  for (auto* p : {&dear, &cheap}) {
    ASSERT_EQ(p->plan(options_of("static").get()), BALLAST_OK);
    const auto economy = options_of("economy");
    ASSERT_EQ(ballast_options_set(economy.get(), "write_price", p == &dear ? 3 : 0, &p->error), BALLAST_OK);
    ASSERT_EQ(p->plan(economy.get(), true, &summary), BALLAST_OK) << p->error.text;
    moves[p == &cheap] = summary.moves;
  }
  EXPECT_LT(2 * moves[0], moves[1]);
  problem few(2, 64, 8, 9);
  const auto fresh = options_of("fresh");
  ASSERT_EQ(ballast_options_set(fresh.get(), "redundant", 2, &few.error), BALLAST_OK);
  ASSERT_EQ(few.plan(fresh.get()), BALLAST_OK) << few.error.text;
  EXPECT_EQ(std::count(few.map.begin(), few.map.end(), -1), 2 * (72 - 64 - 2));
}

TEST(c_api, serves_callers_that_know_less_of_a_struct) {
  problem p(2, 16, 4, 5);
  p.shape.size = offsetof(ballast_shape, nodes);  // what follows is not theirs to set
  p.shape.speeds = reinterpret_cast<const double*>(1);
  struct {
    ballast_summary summary;
    char beyond[8];
  } seen{};
  std::memset(&seen, 0x55, sizeof seen);
  seen.summary.size = offsetof(ballast_summary, peak_after);
  ASSERT_EQ(p.plan(options_of("fresh").get(), false, &seen.summary), BALLAST_OK) << p.error.text;
  EXPECT_EQ(seen.summary.moves, 2u * 20);
  EXPECT_EQ(seen.summary.note[0], 0x55);
}

TEST(c_api, equal_calls_from_many_threads_give_equal_maps) {
  const auto economy = options_of("economy");
  problem first(4, 64, 8, 9);
  ASSERT_EQ(first.plan(economy.get()), BALLAST_OK);
  std::vector<std::vector<std::int32_t>> maps(8);
  std::vector<std::thread> threads;
  for (auto& map : maps) {
    threads.emplace_back([&] {
      problem p(4, 64, 8, 9);
      if (p.plan(economy.get()) == BALLAST_OK) map = p.map;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_THAT(maps, Each(first.map));
}

TEST(c_api, tells_its_version) {
  EXPECT_EQ(ballast_policies_api(), static_cast<std::uint32_t>(BALLAST_POLICIES_API));
  EXPECT_THAT(ballast_policies_version(), ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
}

}  // namespace
