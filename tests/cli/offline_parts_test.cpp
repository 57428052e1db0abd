// The parts of the offline verbs: topology, moves, cost model, replay.
#include <gmock/gmock.h>

#include <random>

#include "cli/offline/moves.hpp"
#include "cli/offline/plan_report.hpp"
#include "cli/offline/progress.hpp"
#include "cli/offline/rank_loads.hpp"
#include "cli/offline/replay.hpp"
#include "cli/offline/topology.hpp"
#include "tests/support/paths.hpp"

namespace ballast::offline {
namespace {

using ::testing::HasSubstr;

TEST(topology, fills_every_slot_and_says_what_was_rounded) {
  const auto exact = topology_of({8, 2, 32U, {}}, 256);
  ASSERT_TRUE(exact);
  EXPECT_EQ(exact->slots_per_rank, 36U);
  EXPECT_EQ(exact->redundant, 32U);
  EXPECT_EQ(exact->note, "");
  EXPECT_EQ(exact->seats[3].node, 0U);
  EXPECT_EQ(exact->seats[4].node, 1U);
  const auto rounded = topology_of({3, 2, 0U, {}}, 16);
  ASSERT_TRUE(rounded);
  EXPECT_EQ(rounded->slots_per_rank, 6U);
  EXPECT_EQ(rounded->redundant, 2U);
  EXPECT_THAT(rounded->note, HasSubstr("2 redundant experts fill them"));
}

TEST(topology, refuses_with_the_numbers) {
  EXPECT_THAT(topology_of({4, 1, {}, 3U}, 16).error().text, HasSubstr("give --slots-per-rank 4"));
  EXPECT_THAT(topology_of({4, 1, {}, 17U}, 16).error().text, HasSubstr("17 slots a rank for 16 experts"));
  EXPECT_THAT(topology_of({2, 3, {}, {}}, 16).error().text, HasSubstr("3 nodes for 2 ranks"));
  EXPECT_THAT(topology_of({2, 1, 40U, {}}, 16).error().text, HasSubstr("no rank holds one twice"));
}

placement of_rows(const std::vector<std::vector<std::vector<std::uint32_t>>>& layers) {
  placement p;
  for (const auto& experts : layers) {
    auto& layer = p.layers.emplace_back();
    for (const auto& seats : experts) {
      auto& replicas = layer.emplace_back();
      for (const auto seat : seats) replicas.push_back({seat_id{seat}, 0, 1.0 / static_cast<double>(seats.size())});
    }
  }
  return p;
}

TEST(moves, are_slots_whose_expert_was_not_on_that_rank) {
  std::vector<policies::seat_info> seats;
  for (std::uint32_t s = 0; s < 4; ++s) seats.push_back({seat_id{s}, s / 2, 1.0, {2, 0}});
  const auto before = of_rows({{{0}, {1, 2}}, {{0}, {3}}});
  const auto after = of_rows({{{0, 1}, {2, 3}}, {{0}, {3}}});
  const auto got = count_moves(before, after, seats);
  EXPECT_EQ(got.moves, 2U);         // expert 0 to rank 1, expert 1 to rank 3
  EXPECT_EQ(got.across_nodes, 0U);  // rank 2 had expert 1 beside rank 3
  EXPECT_EQ(got.layers, 1U);
  EXPECT_EQ(got.max_receiver, 1U);
  EXPECT_EQ(got.nodes[0].received, 1U);
  const auto back = count_moves(of_rows({{{0}, {0}}}), of_rows({{{3}, {0, 3}}}), seats);
  EXPECT_EQ(back.across_nodes, 2U);
  EXPECT_EQ(back.max_receiver, 2U);
  EXPECT_EQ(back.nodes[1].from_others, 2U);
  EXPECT_EQ(count_moves(before, before, seats).moves, 0U);
}

TEST(cost_model, knows_the_bytes_of_a_bundle) {
  EXPECT_EQ(*bundle_bytes({123, 0, 0, "bf16"}), 123U);
  EXPECT_EQ(*bundle_bytes({0, 128, 64, "bf16"}), 3U * 128 * 64 * 2);
  EXPECT_EQ(*bundle_bytes({0, 7168, 2048, "f8_e4m3"}), 3U * (7168 * 2048 + 56 * 16 * 4));
  EXPECT_EQ(*bundle_bytes({}), 0U);
  EXPECT_THAT(bundle_bytes({0, 1, 1, "int3"}).error().text, HasSubstr("choose one of"));
}

TEST(cost_model, charges_copies_to_the_old_placement) {
  cost_model model;
  model.bundle_bytes = 1'000'000'000;
  model.link_gbps = 10;
  model.step_ms = 100;
  model.imbalance_share = 0.5;
  model.slowdown = 0.25;
  EXPECT_DOUBLE_EQ(model.copy_seconds(5), 0.5);
  EXPECT_DOUBLE_EQ(model.step_ms_at(1), 100);
  EXPECT_DOUBLE_EQ(model.step_ms_at(2), 150);
  // 4 steps of 125 ms (balanced, slowed down) take the 0.5 s of the copies; 6 more at 100 ms.
  const auto cost = cost_of_interval(model, 10, 1, 1, 0.5);
  EXPECT_DOUBLE_EQ(cost.step_ms, (4 * 125 + 6 * 100) / 10.0);
  EXPECT_DOUBLE_EQ(cost.copying, 500.0 / 1100);
  EXPECT_DOUBLE_EQ(cost_of_interval(model, 10, 2, 1, 0).step_ms, 100);
  EXPECT_DOUBLE_EQ(cost_of_interval(model, 10, 2, 1, 1e9).copying, 1);  // never done
}

TEST(spread, is_of_sorted_values) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  const auto got = spread_of(values);
  EXPECT_DOUBLE_EQ(got.mean, 50.5);
  EXPECT_DOUBLE_EQ(got.p95, 95);
  EXPECT_DOUBLE_EQ(got.max, 100);
  EXPECT_DOUBLE_EQ(spread_of({}).mean, 1);
}

TEST(progress, tells_how_much_is_left) {
  EXPECT_EQ(progress_line("settings", 10, 40, 5), "settings [#######.......................] 10 of 40, 15 s left");
  EXPECT_EQ(progress_line("records read", 10, 0, 5), "records read: 10");
}

policies::load_recording small_recording() {
  auto got = policies::read_load_records(test_data("small-drift-s1.jsonl.gz"));
  EXPECT_TRUE(got);
  return got ? std::move(*got) : policies::load_recording{};
}

TEST(rank_loads, agree_with_the_imbalance_of_policies) {
  const auto recording = small_recording();
  const auto on = topology_of({5, 2, 9U, {}}, 16);
  ASSERT_TRUE(on);
  auto problem = problem_for(*on, 4, 16, 1);
  problem.loads = recording.records[3].tokens;
  const auto placed = policies::place("deepseek", problem);
  ASSERT_TRUE(placed);
  for (std::size_t r = 0; r < 20; ++r) {
    std::vector<double> loads;
    rank_loads(*placed, 5).add(recording.records[r].tokens, loads);
    const auto expected = policies::imbalance(*placed, recording.records[r].tokens, on->seats).layers;
    const auto got = layer_imbalance(loads, 5);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t l = 0; l < got.size(); ++l) EXPECT_NEAR(got[l], expected[l], 1e-12);
  }
}

std::vector<setting> every_setting() {
  std::vector<setting> out;
  for (const auto& policy : policies::policy_names())
    for (const std::uint32_t interval : {4U, 11U})
      for (const bool trigger : {false, true}) out.push_back({policy, interval, 4, share_mode::even, trigger});
  return out;
}

TEST(replay, is_the_same_for_any_number_of_threads) {
  const auto recording = small_recording();
  replay_input input{recording, 4, 2, {}, true};
  input.cost.steps_per_record = 100;
  input.cost.bundle_bytes = 1 << 20;
  const auto settings = every_setting();
  const auto one = replay_all(input, settings, 1, [](auto) {});
  std::atomic<std::uint64_t> told{0};
  const auto three = replay_all(input, settings, 3, [&](auto) { ++told; });
  ASSERT_TRUE(one && three);
  EXPECT_EQ(told, settings.size());
  ASSERT_EQ(one->size(), settings.size());
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const auto &a = (*one)[i], &b = (*three)[i];
    EXPECT_EQ(a.with.policy, settings[i].policy);
    ASSERT_EQ(a.rebalances.size(), b.rebalances.size());
    EXPECT_EQ(a.summary.par_next, b.summary.par_next);
    EXPECT_EQ(a.summary.moves, b.summary.moves);
    EXPECT_EQ(a.summary.step_ms, b.summary.step_ms);
    EXPECT_EQ(a.rebalances.back().load, b.rebalances.back().load);
  }
}

TEST(replay, counts_what_happened) {
  const auto recording = small_recording();
  replay_input input{recording, 4, 2, {}, true};
  input.cost.steps_per_record = 100;
  const auto got = replay(input, {"deepseek", 8, 4, share_mode::even, false});
  ASSERT_TRUE(got) << got.error().text;
  ASSERT_EQ(got->rebalances.size(), 21U);
  EXPECT_EQ(got->summary.rebalances, 20U);
  EXPECT_EQ(got->rebalances.front().moves, 0U);
  EXPECT_EQ(got->rebalances.front().record, 8U);
  EXPECT_EQ(got->rebalances.back().record, 168U);
  std::uint64_t moves = 0;
  for (const auto& r : got->rebalances) {
    moves += r.moves;
    EXPECT_LE(r.par_planned, r.par_next_max);
    EXPECT_GE(r.moves, r.across_nodes);
    ASSERT_EQ(r.load.size(), 4U);
    for (const auto& row : r.load) EXPECT_NEAR(std::accumulate(row.begin(), row.end(), 0.0), 4, 1e-9);
  }
  EXPECT_EQ(got->summary.moves, moves);
  EXPECT_GT(moves, 0U);
  EXPECT_LT(got->summary.par_next, got->summary.par_static);
  EXPECT_GT(got->summary.gain, 0);
}

TEST(replay, with_a_trigger_leaves_what_does_not_pay) {
  const auto recording = small_recording();
  replay_input input{recording, 4, 2, {}, false};
  input.cost.steps_per_record = 1;
  input.cost.bundle_bytes = std::uint64_t{1} << 40;  // copies that take longer than the interval
  const auto off = replay(input, {"deepseek", 8, 4, share_mode::even, false});
  const auto on = replay(input, {"deepseek", 8, 4, share_mode::even, true});
  ASSERT_TRUE(off && on);
  EXPECT_EQ(on->summary.rebalances, 0U);
  EXPECT_EQ(on->summary.skipped, 20U);
  EXPECT_EQ(on->summary.moves, 0U);
  EXPECT_LT(on->summary.step_ms, off->summary.step_ms);
}

TEST(replay, solved_shares_fit_their_interval_and_newer_ones_fit_the_next) {
  const auto recording = small_recording();
  const replay_input input{recording, 4, 2, {}, false};
  std::vector<run_summary> got;
  for (const auto mode : {share_mode::even, share_mode::interval, share_mode::record}) {
    const auto one = replay(input, {"economy", 8, 8, mode, false});
    ASSERT_TRUE(one) << one.error().text;
    got.push_back(one->summary);
  }
  EXPECT_LT(got[1].par_planned, got[0].par_planned);
  EXPECT_LT(got[2].par_next, got[0].par_next);
  EXPECT_LT(got[2].par_next, got[1].par_next);
  EXPECT_LT(got[2].par_record, got[0].par_record);
}

TEST(replay, refuses_recordings_that_are_too_short) {
  const auto recording = small_recording();
  const replay_input input{recording, 4, 2, {}, false};
  EXPECT_THAT(replay(input, {"static", 100, 4, share_mode::even, false}).error().text,
              HasSubstr("fewer than three intervals of 100"));
  EXPECT_THAT(replay(input, {"nobody", 8, 4, share_mode::even, false}).error().text, HasSubstr("no policy named"));
}

}  // namespace
}  // namespace ballast::offline
