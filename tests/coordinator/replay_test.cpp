// The bars of the two speeds, kept by the production state machine on recorded loads whose topics shift.
#include "tests/coordinator/replay.hpp"

#include <gtest/gtest.h>

#include "tests/support/paths.hpp"

namespace ballast::cluster::test {
namespace {

const policies::load_recording& shifting() {
  static const auto recording = *policies::read_load_records(test_data("dsv3-shift-s1-4l.jsonl.gz"));
  return recording;
}

replay_settings eight_ranks(bool shares, bool moves) {
  replay_settings s;
  s.coordinator.num_redundant_experts = 32;
  s.coordinator.imbalance_trigger = 1.0;
  if (!shares) s.coordinator.shares_interval_ms = 0;
  if (!moves) s.coordinator.step_interval = 0;
  s.placed_once = true;
  s.steps_per_record = 16;
  return s;
}

TEST(Replay, SharesAndMovesTogetherKeepTheNextIntervalBalanced) {
  const auto both = replay(shifting(), eight_ranks(true, true)).run();
  EXPECT_LE(both.mean, 1.03);
  EXPECT_LE(both.moved, 0.03);
  EXPECT_GE(both.rebalances, 3u);
  const auto moves = replay(shifting(), eight_ranks(false, true)).run();
  EXPECT_LT(both.mean, moves.mean);
}

TEST(Replay, SharesAloneKeepItBalancedWithoutAMove) {
  const auto shares = replay(shifting(), eight_ranks(true, false)).run();
  EXPECT_LE(shares.mean, 1.10);
  EXPECT_EQ(shares.rebalances, 1u);  // the placement that the shares are of
  EXPECT_GE(shares.share_updates, 20u);
}

TEST(Replay, SharesDoNotRunAfterTheNoiseOfCalmTraffic) {
  auto calm = shifting();
  for (auto& record : calm.records) record.tokens = calm.records.front().tokens;
  auto s = eight_ranks(true, true);
  s.sampled = true;
  const auto out = replay(calm, s).run();
  EXPECT_LE(out.mean, 1.02);
  EXPECT_LE(out.share_updates, 20u);
  EXPECT_GE(out.share_updates + out.share_skips, 300u);
}

TEST(Replay, IsTheSameEveryTime) {
  auto start = shifting();
  start.records.resize(start.records.size() / 4);
  const auto once = replay(start, eight_ranks(true, true)).run();
  const auto again = replay(start, eight_ranks(true, true)).run();
  EXPECT_GE(once.share_updates, 3u);
  EXPECT_EQ(once.mean, again.mean);
  EXPECT_EQ(once.decisions, again.decisions);
}

}  // namespace
}  // namespace ballast::cluster::test
