// What ranks, steps and copies were measured to take, and what it does to plans.
#include "tests/coordinator/bench.hpp"

namespace ballast::cluster::test {
namespace {

// Summaries of every member for eight steps, `pace[seat]` tokens a ms.
void report(bench& b, step_t first, const std::vector<double>& pace, double hot = 1) {
  for (const auto seat : b.state.members) {
    load_matrix tokens(2, std::vector<double>(b.experts, 10));
    for (auto& layer : tokens) layer[0] = hot * 10;
    double sum = 0;
    for (const auto& layer : tokens)
      for (const double n : layer) sum += n;
    const load_summary l{
        seat, b.state.seats[index_of(seat)].incarnation, 0, first, first + 7, tokens, sum / pace[index_of(seat)]};
    b.say(index_of(seat), l);
  }
}

double speed_in_plans(const bench& b, std::uint32_t seat) { return info_of(b.state, seat_id{seat}, 0).speed; }

TEST(Speeds, OfRanksAreMeasuredButUsedOnlyWhenAskedFor) {
  auto c = bench::default_config();
  auto b = serving(3, c);
  for (step_t s = 1; s < 800; s += 8) report(b, s, {10, 10, 5});
  EXPECT_EQ(speed_in_plans(b, 2), 1.0);
  b.state.config.measured_speeds = true;
  EXPECT_NEAR(speed_in_plans(b, 0), 1.2, 0.06);
  EXPECT_NEAR(speed_in_plans(b, 2), 0.6, 0.04);
}

TEST(Speeds, DoNotFollowNoise) {
  auto c = bench::default_config();
  c.measured_speeds = true;
  auto b = serving(3, c);
  for (step_t s = 1; s < 80; s += 8) report(b, s, {10, 10, 10});
  const double before = speed_in_plans(b, 1);
  for (step_t s = 81; s < 8000; s += 8) {
    report(b, s, {10, s % 16 == 1 ? 12.0 : 8.0, 10});
    ASSERT_EQ(speed_in_plans(b, 1), before);
  }
  for (step_t s = 8001; s < 9000; s += 8) report(b, s, {10, 5, 10});
  EXPECT_LT(speed_in_plans(b, 1), before - 0.2);
}

TEST(Speeds, StayAsGivenWhereABackendDoesNotMeasure) {
  auto c = bench::default_config();
  c.measured_speeds = true;
  auto b = serving(3, c);
  b.heat();  // summaries without a time
  EXPECT_EQ(speed_in_plans(b, 1), 1.0);
  EXPECT_FALSE(b.state.expert_part);
}

TEST(Benefit, KnowsWhatPartOfAStepTheExpertsTake) {
  auto b = serving(3);
  b.pass(100);                                                     // beats: a step takes 2 ms
  for (step_t s = 1; s < 800; s += 8) report(b, s, {40, 40, 20});  // 160 tokens: 4 and 8 of 16 ms
  ASSERT_TRUE(b.state.expert_part);
  EXPECT_NEAR(*b.state.expert_part, 0.5, 0.1);
  EXPECT_NEAR(question_of(b.state, b.state.models[0]).imbalance_share, 0.5, 0.1);
}

TEST(Benefit, KnowsHowMuchLongerStepsTakeBesideCopies) {
  auto b = serving(3);
  b.pass(100);
  b.heat();
  b.accepted_id(forced_rebalance());
  ASSERT_TRUE(b.run_to(phase::wave_staging));
  for (int i = 0; i < 10; ++i)
    for (std::uint32_t a = 0; a < 3; ++a) {
      heartbeat h{"agent" + std::to_string(a), b.state.agents.at("agent" + std::to_string(a)).process, {}};
      h.seats.push_back({seat_id{a}, b.state.seats[a].incarnation, b.now, b.state.epoch, 0, 0, 3, {}});
      b.say(a, h);
    }
  b.answer_all();
  EXPECT_NEAR(b.state.copy_slowdown, 0.3 * 0.5, 1e-9);  // 3 ms, not 2; damped
  EXPECT_EQ(question_of(b.state, b.state.models[0]).slowdown, b.state.copy_slowdown);
}

std::string decision(bench& b) {
  for (auto e = b.events.rbegin(); e != b.events.rend(); ++e)
    if (e->kind == "decision") return e->text;
  return {};
}

TEST(Benefit, ExplainsEveryDecisionInOneLine) {
  auto c = bench::default_config();
  c.step_interval = 40;
  c.imbalance_trigger = 1.0;
  auto b = serving(3, c);
  b.pass(100);
  b.state.page_seconds = 1;  // an hour of copying for a second of service
  b.state.copy_slowdown = 5;
  b.heat();
  b.pass(100);
  EXPECT_NE(decision(b).find("layers left as they are; rebalance skipped: gain"), std::string::npos) << decision(b);
  EXPECT_EQ(decision(b).find('\n'), std::string::npos);
  EXPECT_FALSE(b.state.running);
  b.state.page_seconds = 1e-6;
  b.heat();
  b.pass(100);
  EXPECT_NE(decision(b).find("rebalance pays: gain"), std::string::npos) << decision(b);
  EXPECT_TRUE(b.state.running);
}

plan_request two_layers() {
  plan_request r;
  r.id = 1;
  r.kind = plan_kind::move;
  r.policy = "deepseek";
  r.solve_shares = true;
  plan_task t;
  t.problem.layers = 2;
  t.problem.experts = 8;
  t.problem.loads.assign(2, std::vector<double>(8, 10));
  for (std::uint32_t s = 0; s < 4; ++s) t.problem.seats.push_back({seat_id{s}, 0, 1.0, {4, 2}});
  t.problem.current = *policies::place("deepseek", t.problem);
  t.problem.current->version = 3;
  for (const auto e : {0, 1, 2})  // layer 0: what lies on one seat together gets all the load
    for (std::uint32_t i = 0; i < 8; ++i)
      if (t.problem.current->layers[0][i].front().seat == t.problem.current->layers[0][0].front().seat)
        t.problem.loads[0][i] = 100 + e;
  t.problem.loads[1][3] = 11;
  t.everyone = t.problem.seats;
  r.tasks.push_back(t);
  return r;
}

TEST(Benefit, LeavesLayersOutThatDoNotPay) {
  auto r = two_layers();
  const auto all = *make_plan(r);
  r.benefit = policies::benefit_question{};
  r.benefit->step_seconds = 0.01;
  r.benefit->horizon_steps = 1000;
  r.benefit->least_gain = 0.02;
  const auto some = *make_plan(r);
  EXPECT_TRUE(check_plan(r, some));
  EXPECT_NE(some.models[0].target.layers[0], r.tasks[0].problem.current->layers[0]);
  EXPECT_EQ(some.models[0].target.layers[0], all.models[0].target.layers[0]);
  r.benefit->seconds_per_page = 10;
  r.benefit->slowdown = 1;
  const auto none = *make_plan(r);
  EXPECT_EQ(none.models[0].copies, 0u);
  EXPECT_GE(none.models[0].layers_left, 1u);
  EXPECT_EQ(none.models[0].target.layers, with_solved_shares(*r.tasks[0].problem.current, r.tasks[0].problem)->layers);
}

TEST(Benefit, NeverKeepsALayerOnASeatThatIsToLeave) {
  auto r = two_layers();
  r.tasks[0].problem.seats.pop_back();
  r.benefit = policies::benefit_question{};
  r.benefit->seconds_per_page = 1e6;
  r.benefit->slowdown = 1;
  r.benefit->step_seconds = 1;
  r.benefit->horizon_steps = 1;
  const auto made = make_plan(r);
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_TRUE(check_plan(r, *made));
}

}  // namespace
}  // namespace ballast::cluster::test
