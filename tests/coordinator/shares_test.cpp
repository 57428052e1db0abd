// Shares of the replicas in use follow the loads without anything being moved.
#include "tests/coordinator/bench.hpp"

namespace ballast::cluster::test {
namespace {

coordinator_config quick_shares() {
  auto c = bench::default_config();
  c.num_redundant_experts = 3;
  c.shares_interval_ms = 100;
  c.load_interval_steps = 8;
  return c;
}

// Every expert has the same load, but for one that has two replicas.
load_matrix heated(const bench& b, double hot = 60) {
  const auto& table = *b.state.models[0].current;
  load_matrix tokens(table.layers.size(), std::vector<double>(b.experts, 10));
  for (std::size_t l = 0; l < tokens.size(); ++l)
    for (std::size_t e = 0; e < b.experts; ++e)
      if (table.layers[l][e].size() > 1) {
        tokens[l][e] = hot;
        break;
      }
  return tokens;
}

void report(bench& b, const load_matrix& tokens, step_t first) {
  for (const auto seat : b.state.members)
    b.say(index_of(seat), load_summary{seat, b.state.seats[index_of(seat)].incarnation, 0, first, first + 7, tokens});
}

std::vector<command::publish> publishes(const bench& b) {
  std::vector<command::publish> out;
  for (const auto& [peer, body] : b.sent)
    if (const auto* c = std::get_if<seat_command>(&body))
      if (const auto* p = std::get_if<command::publish>(&c->body)) out.push_back(*p);
  return out;
}

bool same_replicas(placement a, placement b) {
  for (auto* table : {&a, &b})
    for (auto& layer : table->layers)
      for (auto& replicas : layer)
        for (auto& r : replicas) r.share = 1;
  return a.layers == b.layers;
}

TEST(Shares, FollowTheLoadsWithoutAMove) {
  auto b = serving(3, quick_shares());
  const auto before = *b.state.models[0].current;
  report(b, heated(b), 1);
  b.pass(150);
  ASSERT_TRUE(b.at(phase::wave_publishing));
  b.answer_all();
  const auto& m = b.state.models[0];
  EXPECT_FALSE(b.state.running);
  EXPECT_EQ(m.share_updates, 1u);
  EXPECT_EQ(m.current->version, before.version + 1);
  EXPECT_TRUE(same_replicas(before, *m.current));
  EXPECT_EQ(b.seen, std::set<std::string>{"publish"});
  const auto infos = infos_of(b.state, b.state.members, 0);
  EXPECT_LT(policies::imbalance(*m.current, m.window.totals(), infos).mean,
            policies::imbalance(before, m.window.totals(), infos).mean - 0.01);
  EXPECT_TRUE(b.legal());
}

TEST(Shares, AreNoOperationThatOperatorsSee) {
  auto b = serving(3, quick_shares());
  const auto history = b.state.history.size();
  const auto last = b.state.last_operation;
  const auto events = b.events.size();
  report(b, heated(b), 1);
  b.pass(150);
  const auto seen = std::get<cluster_status>(*b.ask(get_status{}));
  for (const auto& op : seen.operations) EXPECT_NE(op.outcome, "running");
  EXPECT_NE(b.refusal(abort_request{share_operation}), "");
  b.answer_all();
  EXPECT_EQ(b.state.history.size(), history);
  EXPECT_EQ(b.state.last_operation, last);
  EXPECT_EQ(b.events.size(), events);
  EXPECT_EQ(std::get<cluster_status>(*b.ask(get_status{})).models[0].share_updates, 1u);
}

TEST(Shares, StayWhereTooLittleIsToBeGained) {
  auto c = quick_shares();
  c.shares_gain = 5;
  auto b = serving(3, c);
  report(b, heated(b), 1);
  b.pass(150);
  EXPECT_EQ(b.state.models[0].share_updates, 0u);
  EXPECT_EQ(b.state.models[0].share_skips, 1u);
  EXPECT_TRUE(publishes(b).empty());
}

TEST(Shares, AreNotLookedAtAgainBeforeNewLoadsHaveCome) {
  auto b = serving(3, quick_shares());
  report(b, heated(b), 1);
  b.pass(150);
  b.answer_all();
  b.pass(1000);
  EXPECT_EQ(b.state.models[0].share_updates + b.state.models[0].share_skips, 1u);
  report(b, heated(b), 9);
  b.pass(150);
  EXPECT_EQ(b.state.models[0].share_skips, 1u);  // the same loads: nothing to gain
}

TEST(Shares, WaitForAnOperationAndAreSolvedRightAfterIt) {
  auto b = serving(4, quick_shares());
  const auto scale = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(phase::opening));
  report(b, heated(b), 1);
  b.pass(400);
  const auto looks = [&] { return b.state.models[0].share_updates + b.state.models[0].share_skips; };
  EXPECT_EQ(looks(), 0u);
  EXPECT_FALSE(b.state.shares_asked);
  b.answer_all();
  EXPECT_EQ(b.ended(scale).outcome, "done");
  EXPECT_EQ(looks(), 1u);
  report(b, heated(b), 9);
  b.pass(150);
  b.answer_all();
  EXPECT_EQ(looks(), 2u);
  EXPECT_TRUE(b.legal());
}

TEST(Shares, LetAnOperationBeginAfterTheUpdateUnderWay) {
  auto b = serving(4, quick_shares());
  report(b, heated(b), 1);
  b.pass(150);
  ASSERT_TRUE(b.state.running);
  const auto scale = b.accepted_id(scale_to(4));
  EXPECT_EQ(b.state.running->what.kind, operation_kind::shares);
  b.answer_all();
  EXPECT_EQ(b.ended(scale).outcome, "done");
  EXPECT_EQ(b.members().size(), 4u);
  EXPECT_TRUE(b.legal());
}

TEST(Shares, AreSentAgainUntilEveryMemberHasAnswered) {
  auto b = serving(3, quick_shares());
  report(b, heated(b), 1);
  b.pass(150);
  const auto sent = publishes(b).size();
  ASSERT_EQ(sent, 3u);
  b.answer(seat_id{0});
  b.pass(b.state.config.command_retry_ms);
  EXPECT_EQ(publishes(b).size(), sent + 2);
  for (const auto& p : publishes(b)) EXPECT_EQ(p.table, publishes(b).front().table);
  b.answer_all();
  EXPECT_EQ(b.state.models[0].current->version, publishes(b).front().table.version);
}

TEST(Shares, OfALostSeatAreRepairedFromTheTableThatWasOnItsWay) {
  auto b = serving(4, quick_shares());
  report(b, heated(b), 1);
  b.pass(150);
  ASSERT_TRUE(b.at(phase::wave_publishing));
  const auto version = b.state.models[0].publishing->version;
  b.answer(seat_id{0});
  b.lose(1);
  b.answer_all();
  b.pass(100);
  b.answer_all();
  EXPECT_FALSE(b.state.running);
  EXPECT_EQ(b.members(), (std::vector<std::uint32_t>{0, 2}));
  EXPECT_GT(b.state.models[0].current->version, version);
  EXPECT_FALSE(b.state.models[0].publishing);
  EXPECT_TRUE(b.legal());
}

TEST(Shares, ForATableThatIsNoLongerInUseAreForgotten) {
  auto b = serving(3, quick_shares());
  b.planner_works = false;
  report(b, heated(b), 1);
  b.pass(150);
  ASSERT_TRUE(b.state.shares_asked);
  const auto asked = *b.state.shares_asked;
  b.planner_works = true;
  b.heat();
  b.accepted_id(forced_rebalance());
  b.answer_all();
  const auto version = b.state.models[0].current->version;
  ASSERT_NE(version, asked.tasks[0].problem.current->version);
  const auto late = step(b.state, input::planned{asked.id, make_plan(asked)});
  EXPECT_FALSE(b.state.running);
  EXPECT_EQ(b.state.models[0].current->version, version);
  for (const auto& e : late) EXPECT_FALSE(std::holds_alternative<effect::send>(e));
}

TEST(Shares, ThatNameOtherReplicasAreRefused) {
  auto b = serving(3, quick_shares());
  b.planner_works = false;
  report(b, heated(b), 1);
  b.pass(150);
  const auto asked = *b.state.shares_asked;
  auto made = *make_plan(asked);
  auto& layer = made.models[0].waves[0].after.layers[0];
  for (auto& replicas : layer)
    if (replicas.size() > 1) {
      replicas.pop_back();
      replicas.front().share = 1;
      break;
    }
  EXPECT_FALSE(check_plan(asked, made));
  step(b.state, input::planned{asked.id, made});
  EXPECT_FALSE(b.state.running);
  EXPECT_EQ(b.state.models[0].share_skips, 1u);
}

TEST(Shares, AreSolvedInEveryOtherPlanToo) {
  auto b = serving(3, quick_shares());
  b.state.config.shares_interval_ms = 1'000'000;  // by plans only
  report(b, heated(b), 1);
  b.accepted_id(forced_rebalance());
  b.answer_all();
  const auto& m = b.state.models[0];
  bool uneven = false;
  for (const auto& layer : m.current->layers)
    for (const auto& replicas : layer)
      for (const auto& r : replicas) uneven |= r.share != 1.0 / static_cast<double>(replicas.size());
  EXPECT_TRUE(uneven);
  EXPECT_TRUE(b.legal());
}

// Loads that the replicas of a seat get alone: no shares can help.
load_matrix hopeless(const bench& b) {
  load_matrix tokens(2, std::vector<double>(b.experts, 1));
  const auto& table = *b.state.models[0].current;
  for (std::size_t l = 0; l < tokens.size(); ++l)
    for (std::size_t e = 0; e < b.experts; ++e)
      if (table.layers[l][e].size() == 1 && table.layers[l][e].front().seat == b.state.members.front())
        tokens[l][e] = 200;
  return tokens;
}

coordinator_config seldom_placed() {
  auto c = quick_shares();
  c.step_interval = 10'000;
  c.window_size = 10'000;
  c.shares_tokens = 0;
  c.shares_window = 1;
  return c;
}

TEST(EarlyPlans, AreMadeForTheLatestLoadsWhereNoSharesHelp) {
  auto b = serving(3, seldom_placed());
  b.pass(2000);  // an eighth of the interval, by the beats' steps
  for (step_t s = 1; s < 400; s += 8) report(b, load_matrix(2, std::vector<double>(b.experts, 10)), s);
  const auto hot = hopeless(b);
  report(b, hot, 401);
  b.pass(150);
  for (std::uint32_t i = 0; i < 3; ++i) b.answer(seat_id{i});  // the update that helps as far as it can
  ASSERT_TRUE(b.state.running);
  ASSERT_EQ(b.state.running->what.kind, operation_kind::rebalance);
  const auto& planned_for =
      b.state.running->asked ? b.state.running->asked->tasks[0].problem : policies::placement_problem{};
  EXPECT_EQ(planned_for.loads, [&] {
    auto three = hot;
    for (auto& layer : three)
      for (auto& n : layer) n *= 3;
    return three;
  }());
  EXPECT_FALSE(planned_for.history.intervals.empty());
  b.answer_all();
  EXPECT_TRUE(b.legal());
}

TEST(EarlyPlans, WaitForAnEighthOfTheInterval) {
  auto b = serving(3, seldom_placed());
  report(b, hopeless(b), 1);
  b.pass(500);
  b.answer_all();
  EXPECT_GT(b.state.models[0].shares_leave, 1.05);
  for (const auto& op : b.state.history) EXPECT_NE(op.kind, "rebalance");
}

TEST(EarlyPlans, AreNotMadeWhereOnlyCommandsPlace) {
  auto c = seldom_placed();
  c.step_interval = 0;
  auto b = serving(3, c);
  b.pass(2000);
  report(b, hopeless(b), 1);
  b.pass(500);
  b.answer_all();
  for (const auto& op : b.state.history) EXPECT_NE(op.kind, "rebalance");
}

}  // namespace
}  // namespace ballast::cluster::test
