// Whole operations on the pure machine, from the request to the end.
#include "tests/coordinator/bench.hpp"

namespace ballast::cluster::test {
namespace {

using seats = std::vector<std::uint32_t>;

TEST(Start, WaitsForAsManySeatsAsConfiguredAndThenServes) {
  bench b;
  b.join_all(2);
  EXPECT_FALSE(b.state.running);
  b.join(2);
  ASSERT_TRUE(b.state.running);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
  EXPECT_TRUE(b.legal());
  EXPECT_EQ(b.ended(1).outcome, "done") << b.ended(1).reason;
}

TEST(Start, ThatFailsLetsGoOfEverySeatAndIsTriedAgain) {
  bench b;
  b.join_all(3);
  ASSERT_TRUE(b.run_to(phase::staging));
  b.answer(seat_id{1}, false, "no such checkpoint");
  b.answer_all();
  EXPECT_EQ(b.ended(1).outcome, "aborted");
  EXPECT_NE(b.ended(1).reason.find("no such checkpoint"), std::string::npos);
  EXPECT_TRUE(b.members().empty());
  b.pass(10 * b.state.config.command_retry_ms + 100);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
}

TEST(Rebalance, StagesPublishesAndReclaimsWithoutHolding) {
  auto b = serving(3);
  b.heat();
  const auto id = b.accepted_id(forced_rebalance());
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "done");
  EXPECT_GT(b.ended(id).pages_copied, 0u);
  EXPECT_LT(b.ended(id).imbalance_predicted, b.ended(id).imbalance_before);
  EXPECT_EQ(b.seen, (std::set<std::string>{"stage", "publish", "reclaim"}));
  EXPECT_TRUE(b.legal());
}

bench synchronous() {
  auto c = bench::default_config();
  c.use_async = false;
  auto b = serving(3, c);
  b.heat();
  return b;
}

TEST(Rebalance, InSynchronousModeStopsEverybodyFirst) {
  auto b = synchronous();
  const auto id = b.accepted_id(forced_rebalance());
  ASSERT_TRUE(b.at(phase::holding));
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "done");
  EXPECT_TRUE(b.seen.contains("unhold"));
  EXPECT_TRUE(b.state.held.empty());
}

TEST(Rebalance, WhatIsAbortedWhileItStopsEverybodyLetsGoTwice) {
  auto b = synchronous();
  const auto id = b.accepted_id(forced_rebalance());
  ASSERT_TRUE(b.at(phase::holding));
  b.answer(seat_id{0});
  b.ask(abort_request{id});
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(b.at(phase::unholding));
    EXPECT_EQ(b.state.held.size(), 3u);
    for (std::uint32_t seat = 0; seat < 3; ++seat) {
      ASSERT_FALSE(b.waiting[seat_id{seat}].empty());
      EXPECT_TRUE(std::holds_alternative<command::unhold>(b.waiting[seat_id{seat}].back().body));
      b.waiting[seat_id{seat}] = {b.waiting[seat_id{seat}].back()};
      b.answer(seat_id{seat});
    }
  }
  EXPECT_TRUE(b.state.held.empty());
  EXPECT_EQ(b.ended(id).outcome, "aborted");
}

TEST(Rebalance, DryRunMovesNothing) {
  auto b = serving(3);
  b.heat();
  rebalance_request r;
  r.dry_run = true;
  const auto answer = b.ask(r);
  ASSERT_TRUE(answer && std::holds_alternative<rebalance_preview>(*answer));
  const auto& p = std::get<rebalance_preview>(*answer);
  EXPECT_GT(p.moves, 0u);
  EXPECT_EQ(p.bytes, p.moves * 10);
  EXPECT_LT(p.imbalance_after, p.imbalance_before);
  EXPECT_TRUE(b.seen.empty());
}

TEST(Rebalance, IsTriggeredWhenAStepIntervalPassesOutOfBalance) {
  auto c = bench::default_config();
  c.step_interval = 100;
  auto b = serving(3, c);
  b.heat();
  b.pass(200);
  ASSERT_TRUE(b.state.running);
  EXPECT_EQ(b.state.running->report.kind, "rebalance");
}

TEST(Scale, GrowsAndThenLeavesAMiddleSeat) {
  auto b = serving(4);
  const auto up = b.accepted_id(scale_to(4));
  b.answer_all();
  EXPECT_EQ(b.ended(up).outcome, "done") << b.ended(up).reason;
  EXPECT_EQ(b.members(), (seats{0, 1, 2, 3}));
  EXPECT_TRUE(b.legal());
  const auto down = b.accepted_id(scale_seats({0, 2, 3}));
  b.answer_all();
  EXPECT_EQ(b.ended(down).outcome, "done") << b.ended(down).reason;
  EXPECT_EQ(b.members(), (seats{0, 2, 3}));
  EXPECT_EQ(b.state.seats[1].state, seat_state::idle);
  EXPECT_TRUE(b.legal());
}

TEST(Scale, ExchangesAllSeatsByGrowingFirst) {
  auto b = serving(6);
  const auto id = b.accepted_id(scale_seats({3, 4, 5}));
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "done") << b.ended(id).reason;
  EXPECT_EQ(b.members(), (seats{3, 4, 5}));
  EXPECT_TRUE(b.legal());
}

TEST(Scale, JoinsFirstWithoutStaging) {
  auto b = serving(4);
  auto r = scale_to(4);
  r.join_first = true;
  b.accepted_id(r);
  ASSERT_TRUE(b.run_to(phase::switching));
  EXPECT_FALSE(b.seen.contains("stage"));
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 1, 2, 3}));
}

TEST(Scale, KeepsActiveSeatsAndFillsNodesEvenly) {
  auto b = serving(6);  // nodes {0,1} {2,3} {4,5}; active 0, 1, 2 or one a node
  b.accepted_id(scale_to(5));
  b.answer_all();
  std::map<std::uint32_t, int> per_node;
  for (const auto s : b.members()) ++per_node[s / 2];
  EXPECT_EQ(per_node.size(), 3u);
  EXPECT_EQ(b.members().size(), 5u);
}

TEST(Scale, TablesAndEpochsAreNeverUsedTwice) {
  auto b = serving(4);
  std::set<std::pair<std::string, version_t>> published;
  b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(phase::switching));
  const auto first_epoch = b.state.running->epoch;
  b.switched = false;
  b.ask(abort_request{b.state.running->what.id});
  b.answer_all();
  b.switched = true;
  const auto version = b.state.models[0].last_version;
  b.accepted_id(scale_to(4));
  b.answer_all();
  EXPECT_GT(b.state.epoch, first_epoch);
  EXPECT_GT(b.state.models[0].current->version, version);
}

}  // namespace
}  // namespace ballast::cluster::test
