// What goes wrong, in every phase: aborts, losses, failures, silence.
#include "tests/coordinator/bench.hpp"

namespace ballast::cluster::test {
namespace {

using seats = std::vector<std::uint32_t>;

struct in_phase : ::testing::TestWithParam<phase> {};
std::string phase_name(const ::testing::TestParamInfo<phase>& p) {
  std::string out(row_of(p.param).name);
  for (auto& c : out)
    if (c == ' ') c = '_';
  return out;
}

using GrowAborted = in_phase;
TEST_P(GrowAborted, LeavesEverythingAsItWas) {
  auto b = serving();
  const auto before = *b.state.models[0].current;
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(GetParam()));
  b.switched = false;
  EXPECT_EQ(b.accepted_id(abort_request{id}), id);
  EXPECT_EQ(b.accepted_id(abort_request{id}), id);  // again: harmless
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "aborted");
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
  EXPECT_EQ(b.state.seats[3].state, seat_state::idle);
  EXPECT_EQ(*b.state.models[0].current, before);
  EXPECT_EQ(b.unnamed_slots(), 0u);
}
const auto before_commit =
    ::testing::Values(phase::preparing, phase::staging, phase::opening, phase::connecting, phase::switching);
INSTANTIATE_TEST_SUITE_P(Phases, GrowAborted, before_commit, phase_name);

using GrowFailed = in_phase;
TEST_P(GrowFailed, IsTakenBackWithTheReason) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(GetParam()));
  b.switched = false;
  b.answer(seat_id{3}, false, "out of luck");
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "aborted");
  EXPECT_NE(b.ended(id).reason.find("out of luck"), std::string::npos) << b.ended(id).reason;
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
}
INSTANTIATE_TEST_SUITE_P(Phases, GrowFailed, before_commit, phase_name);

using GrowDeadline = in_phase;
TEST_P(GrowDeadline, AbortsAndSaysWhatWasAwaited) {
  auto b = serving();
  auto r = scale_to(4);
  r.deadline_ms = 2000;
  const auto id = b.accepted_id(r);
  ASSERT_TRUE(b.run_to(GetParam()));
  b.switched = false;
  b.pass(2100);
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "aborted");
  EXPECT_NE(b.ended(id).reason.find(row_of(GetParam()).name), std::string::npos) << b.ended(id).reason;
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
}
INSTANTIATE_TEST_SUITE_P(Phases, GrowDeadline, before_commit, phase_name);

using MemberLost = in_phase;
TEST_P(MemberLost, IsReplacedByTheSurvivors) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(GetParam()));
  b.lose(1);
  b.answer_all();
  EXPECT_NE(b.ended(id).outcome, "running");
  ASSERT_FALSE(b.state.running) << b.state.running->report.phase;
  const auto replaced = b.ended(id + 1);
  EXPECT_EQ(replaced.kind, "replace");
  EXPECT_EQ(replaced.outcome, "done") << replaced.reason;
  EXPECT_NE(replaced.reason.find("seat 1 lost"), std::string::npos);
  EXPECT_EQ(std::ranges::count(b.members(), 1u), 0);
  EXPECT_TRUE(std::ranges::count(b.members(), 0u) == 1 && std::ranges::count(b.members(), 2u) == 1);
  EXPECT_TRUE(b.legal());
}
INSTANTIATE_TEST_SUITE_P(Phases, MemberLost,
                         ::testing::Values(phase::preparing, phase::staging, phase::opening, phase::connecting,
                                           phase::switching, phase::probation, phase::closing),
                         phase_name);

using JoinerLost = in_phase;
TEST_P(JoinerLost, EndsTheScaleAndNobodyStops) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(GetParam()));
  b.seen.clear();
  b.lose(3);
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "aborted");
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
  EXPECT_FALSE(b.seen.contains("halt"));
}
INSTANTIATE_TEST_SUITE_P(Phases, JoinerLost,
                         ::testing::Values(phase::preparing, phase::staging, phase::opening, phase::connecting),
                         phase_name);

TEST(HungStep, LosesTheSeatThoughItsProcessBeats) {
  auto b = serving();
  b.hang(1);
  b.pass(b.state.config.step_timeout_ms);
  EXPECT_EQ(b.members(), (seats{0, 1, 2})) << "it may be a long step";
  b.pass(100);
  b.answer_all();
  EXPECT_EQ(b.state.seats[1].state, seat_state::lost);
  EXPECT_EQ(b.members(), (seats{0, 2}));
  EXPECT_NE(b.state.history.front().reason.find("its step has not ended for 60000 ms"), std::string::npos);
}

TEST(HungStep, IsWaitedForWhereNoLimitIsSet) {
  auto b = serving();
  b.state.config.step_timeout_ms = 0;
  b.hang(1);
  b.pass(200'000);
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
}

TEST(ClosedConnection, LosesTheSeatLongBeforeItIsMissed) {
  auto b = serving();
  ASSERT_LT(b.state.config.exit_grace_ms + 50, b.state.config.heartbeat_timeout_ms);
  b.kill(1);
  b.connection(1, false);
  EXPECT_EQ(b.state.seats[1].state, seat_state::active) << "it may connect anew";
  b.pass(b.state.config.exit_grace_ms + 50);
  EXPECT_EQ(b.state.seats[1].state, seat_state::lost);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 2}));
  EXPECT_NE(b.state.history.front().reason.find("its process has ended"), std::string::npos);
}

TEST(ClosedConnection, ReplacedInTimeCostsNothing) {
  auto b = serving();
  b.connection(1, false);
  b.connection(1, true);
  b.pass(10 * b.state.config.exit_grace_ms);
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
  EXPECT_EQ(b.state.seats[1].incarnation, 1u);
}

// What it sent before may be read after its end: only a new connection shows that it lives.
TEST(ClosedConnection, IsNotForgottenForALateHeartbeat) {
  auto b = serving();
  b.connection(1, false);
  b.pass(b.state.config.exit_grace_ms + 50);  // with heartbeats
  EXPECT_EQ(b.state.seats[1].state, seat_state::lost);
}

TEST(ClosedConnection, OfAStrangerOrOfALostAgentIsNoNews) {
  auto b = serving();
  b.connection(77, false);
  b.lose(1);
  b.answer_all();
  b.connection(1, false);
  b.join(1);
  b.pass(10 * b.state.config.exit_grace_ms);
  EXPECT_EQ(b.state.seats[1].state, seat_state::idle) << "the end was that of the process before";
}

TEST(Abort, ThatComesTooLateFindsTheSwitchDoneAndGoesOn) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(phase::switching));
  b.accepted_id(abort_request{id});
  EXPECT_TRUE(b.at(phase::disarming));
  b.answer_all();  // every seat says: switched
  EXPECT_EQ(b.ended(id).outcome, "done");
  EXPECT_EQ(b.members(), (seats{0, 1, 2, 3}));
}

TEST(Abort, IsRefusedPastTheCommitPoint) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(phase::probation));
  EXPECT_NE(b.refusal(abort_request{id}).find("past its commit point"), std::string::npos);
}

TEST(Probation, RevertsWhenTheNewCommunicatorFails) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(phase::probation));
  b.say(2, seat_trouble{seat_id{2}, 1, b.state.epoch, {errc::timed_out, "a collective timed out"}});
  EXPECT_TRUE(b.at(phase::reverting));
  b.answer_all();
  EXPECT_EQ(b.ended(id).outcome, "aborted");
  EXPECT_NE(b.ended(id).reason.find("reverted"), std::string::npos);
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
  EXPECT_EQ(b.state.seats[3].state, seat_state::idle);
  EXPECT_TRUE(b.legal());
}

TEST(Trouble, WithNobodyLostResumesOnANewEpoch) {
  auto b = serving();
  const auto epoch = b.state.epoch;
  b.say(0, seat_trouble{seat_id{0}, 1, epoch, {errc::timed_out, "a collective timed out"}});
  ASSERT_TRUE(b.state.running);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
  EXPECT_GT(b.state.epoch, epoch);
  b.say(0, seat_trouble{seat_id{0}, 1, epoch, {errc::timed_out, "late"}});
  EXPECT_FALSE(b.state.running);  // of a communicator that is gone
}

TEST(Replace, BringsLostExpertsBackFromTheCheckpoint) {
  auto b = serving();
  b.lose(1);
  ASSERT_TRUE(b.run_to(phase::staging));
  std::size_t from_checkpoint = 0;
  for (const auto& [seat, commands] : b.waiting)
    for (const auto& c : commands)
      if (const auto* s = std::get_if<command::stage>(&c.body))
        for (const auto& i : s->items) from_checkpoint += i.sources.empty() ? 1 : 0;
  EXPECT_GT(from_checkpoint, 0u);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 2}));
  EXPECT_TRUE(b.legal());
}

TEST(Replace, StartsOverWhenASecondSeatIsLost) {
  bench b;
  b.slots = 8;
  b.join_all(3);
  b.answer_all();
  b.lose(1);
  ASSERT_TRUE(b.run_to(phase::connecting));
  b.lose(2);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0}));
  EXPECT_TRUE(b.legal());
}

TEST(Replace, GoesOutOfServiceWhenTheRestCannotHoldTheExpertsAndComesBack) {
  auto b = serving();  // 4 slots each, 8 experts: one seat is too small
  b.kill(0);
  b.kill(1);
  b.kill(3);
  b.pass(1100);
  b.answer_all();
  EXPECT_TRUE(b.members().empty());
  const auto failed = b.state.history.front();
  EXPECT_EQ(failed.outcome, "failed");
  EXPECT_NE(failed.reason.find("need 8 slots"), std::string::npos) << failed.reason;
  b.join(0);
  b.answer_all();
  EXPECT_EQ(b.members().size(), 2u);
  EXPECT_TRUE(b.legal());
}

// Joiners that stepped with the lost members may route by their tables still; nobody is emptied under them.
TEST(Replace, HaltsTheJoinersBeforeItEmptiesThemWhenEveryMemberIsLost) {
  auto c = bench::default_config();
  c.initial_ranks = 1;
  bench b(c);
  b.slots = 8;
  b.join_all(2);
  b.answer_all();
  b.accepted_id(scale_to(2));
  ASSERT_TRUE(b.run_to(phase::probation));
  b.say(1, seat_trouble{seat_id{1}, 1, b.state.epoch, {errc::timed_out, "a collective timed out"}});
  ASSERT_TRUE(b.at(phase::reverting));
  b.lose(0);
  EXPECT_TRUE(b.members().empty());
  EXPECT_TRUE(b.at(phase::halting));
  b.answer_all();
  b.pass(5100);  // it rests after a failure
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{1}));
  EXPECT_TRUE(b.legal());
}

TEST(Replace, TakesAnIdleSeatInWhenToldTo) {
  auto c = bench::default_config();
  c.auto_replace = true;
  bench b(c);
  b.join_all(4);
  b.answer_all();
  b.lose(1);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 2, 3}));
}

TEST(Replace, GivesASeatUpThatDoesNotHalt) {
  auto b = serving();
  b.say(0, seat_trouble{seat_id{0}, 1, b.state.epoch, {errc::timed_out, "a collective timed out"}});
  ASSERT_TRUE(b.at(phase::halting));
  b.answer(seat_id{0});
  b.answer(seat_id{1});
  b.waiting.clear();
  b.pass(6000);  // it beats, but does not answer
  EXPECT_EQ(b.state.seats[2].state, seat_state::lost);
  b.dead.insert(2);
  b.answer_all();
  EXPECT_EQ(b.members(), (seats{0, 1}));
}

TEST(Rebalance, AbortedInAWaveFinishesTheWave) {
  auto b = serving();
  b.heat();
  const auto id = b.accepted_id(forced_rebalance());
  ASSERT_TRUE(b.run_to(phase::wave_publishing));
  b.accepted_id(abort_request{id});
  b.answer_all();
  EXPECT_NE(b.ended(id).outcome, "running");
  EXPECT_EQ(b.unnamed_slots(), 0u);
  EXPECT_TRUE(b.legal());
}

TEST(Commands, AreSentAgainUntilAnswered) {
  auto b = serving();
  b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.at(phase::preparing));
  const auto count = [&] {
    return std::ranges::count_if(b.sent, [](const auto& m) {
      const auto* c = std::get_if<seat_command>(&m.second);
      return c && std::holds_alternative<command::prepare>(c->body) && c->seat == seat_id{3};
    });
  };
  const auto before = count();
  b.pass(1100);
  EXPECT_EQ(count(), before + 2);
  const auto& last = b.waiting[seat_id{3}].back();
  EXPECT_EQ(last.sequence, b.state.running->now.awaited.front().sequence);  // the same command
}

}  // namespace
}  // namespace ballast::cluster::test
