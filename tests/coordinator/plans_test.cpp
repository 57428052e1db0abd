// Plans are checked whole before anything is sent; repairs bring back what was lost.
#include "coordinator/plans.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "tests/coordinator/bench.hpp"

namespace ballast::cluster {
namespace {

plan_task task(std::uint32_t seats, std::uint32_t experts, std::uint32_t slots) {
  plan_task t;
  t.problem.layers = 2;
  t.problem.experts = experts;
  t.problem.loads.assign(2, std::vector<double>(experts, 1));
  for (auto& layer : t.problem.loads) layer[0] = layer[1] = 50;
  for (std::uint32_t s = 0; s < seats; ++s)
    t.problem.seats.push_back({static_cast<seat_id>(s), s / 2, 1.0, {slots, 2}});
  t.everyone = t.problem.seats;
  return t;
}

plan_request growing() {
  plan_request r;
  r.id = 7;
  r.policy = "deepseek";
  r.kind = plan_kind::grow;
  r.tasks.push_back(task(3, 8, 4));
  auto before = r.tasks[0].problem;
  before.seats.pop_back();
  r.tasks[0].problem.current = *policies::place("deepseek", before);
  r.joiners = {seat_id{2}};
  return r;
}

TEST(Plan, ForGrowthStagesOnJoinersOnlyAndPasses) {
  const auto request = growing();
  const auto made = make_plan(request);
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_FALSE(made->models[0].staged.empty());
  for (const auto& t : made->models[0].staged) {
    EXPECT_EQ(t.seat, seat_id{2});
    EXPECT_FALSE(t.sources.empty());
  }
  const auto ok = check_plan(request, *made);
  EXPECT_TRUE(ok) << ok.error().text;
}

TEST(Plan, EveryMutationIsRefused) {
  const auto request = growing();
  const auto good = *make_plan(request);
  ASSERT_FALSE(good.models[0].waves.empty());
  using mutation = std::function<void(model_plan&)>;
  const std::vector<mutation> mutations{
      [](auto& m) { m.base += 1; },
      [](auto& m) { m.target.layers[0][0].clear(); },
      [](auto& m) { m.target.layers.pop_back(); },
      [](auto& m) { m.table.layers[1][3].push_back(m.table.layers[1][3][0]); },
      [](auto& m) { m.table.layers[0][0][0].seat = seat_id{9}; },
      [](auto& m) { m.table.layers[0][0][0].slot = 40; },
      [](auto& m) { m.table.layers[0][0][0].share = 0; },
      [](auto& m) { m.staged.pop_back(); },
      [](auto& m) { m.staged.push_back(m.staged[0]); },
      [](auto& m) { m.staged[0].expert = (m.staged[0].expert + 1) % 8; },
      [](auto& m) { m.staged[0].sources = {seat_id{2}}; },
      [](auto& m) {
        m.waves.pop_back();
        m.waves.push_back({});
      },
      [](auto& m) { m.waves[0].after.layers[0][2].clear(); },
      [](auto& m) {
        m.waves.back().drops.clear();
        m.waves.back().adds.clear();
        m.waves.back().after = m.table;
        m.waves.back().after.layers[0][1] = m.target.layers[0][0];
      },
  };
  for (std::size_t i = 0; i < mutations.size(); ++i) {
    auto bad = good;
    mutations[i](bad.models[0]);
    EXPECT_FALSE(check_plan(request, bad)) << "mutation " << i;
  }
  plan none = good;
  none.models.clear();
  EXPECT_FALSE(check_plan(request, none));
}

// As many layers as keep several threads busy, whose loads have no order.
plan_request growing_by_threads(const std::string& policy, std::uint32_t threads) {
  auto r = growing();
  r.policy = policy;
  auto& p = r.tasks[0].problem;
  p.layers = 20;
  p.redundant = 3;
  p.options = policies::policy_options(policy).value();
  p.options->threads = threads;
  std::mt19937 random(5);
  p.loads.assign(p.layers, std::vector<double>(p.experts));
  for (auto& layer : p.loads)
    for (auto& n : layer) n = random() % 1000;
  auto before = p;
  before.current.reset();
  before.seats.pop_back();
  p.current = *policies::place("static", before);
  return r;
}

TEST(Plan, IsTheSameForAnyNumberOfThreads) {
  for (const std::string policy : {"economy", "quality", "fresh"}) {
    const auto one = make_plan(growing_by_threads(policy, 1));
    ASSERT_TRUE(one) << one.error().text;
    EXPECT_GT(one->models[0].copies, 0u);
    for (const std::uint32_t threads : {2, 5, 8}) {
      const auto many = make_plan(growing_by_threads(policy, threads));
      ASSERT_TRUE(many) << many.error().text;
      EXPECT_EQ(many->models[0].target, one->models[0].target) << policy << " with " << threads;
      EXPECT_EQ(many->models[0].table, one->models[0].table) << policy << " with " << threads;
    }
  }
}

TEST(Plan, IsMadeByAsManyThreadsAsTheCoordinatorIsGiven) {
  auto config = test::bench::default_config();
  config.policy = "economy";
  config.planner_threads = 3;
  for (const auto interval : {0u, 100u}) {
    config.shares_interval_ms = interval;
    auto b = test::serving(3, config);
    b.planner_works = false;
    b.accepted_id(test::forced_rebalance());
    ASSERT_TRUE(b.state.running && b.state.running->asked);
    const auto& options = b.state.running->asked->tasks[0].problem.options;
    ASSERT_TRUE(options);
    EXPECT_EQ(options->threads, 3u);
    EXPECT_EQ(options->solved_shares, interval != 0);
  }
}

TEST(Plan, UnknownPolicyIsAnError) {
  auto request = growing();
  request.policy = "magic";
  EXPECT_FALSE(make_plan(request));
}

TEST(Repair, KeepsSurvivorsAndReadsOrphansFromTheCheckpoint) {
  auto t = task(3, 8, 4);
  t.problem.current = *policies::place("deepseek", t.problem);
  t.problem.seats.erase(t.problem.seats.begin() + 1);
  t.everyone = t.problem.seats;
  const auto made = repair(t);
  ASSERT_TRUE(made) << made.error().text;
  const auto ok = policies::validate(made->table, 2, 8, t.problem.seats);
  EXPECT_TRUE(ok) << ok.error().text;
  for (const auto& s : made->staged) EXPECT_TRUE(s.sources.empty());
}

TEST(Repair, RefusesWhatDoesNotFitWithTheNumbers) {
  auto t = task(3, 8, 4);
  t.problem.current = *policies::place("deepseek", t.problem);
  t.problem.seats.resize(1);
  t.everyone = t.problem.seats;
  const auto made = repair(t);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::does_not_fit);
  EXPECT_NE(made.error().text.find("need 8 slots, the 1 seats left hold 4"), std::string::npos) << made.error().text;
}

}  // namespace
}  // namespace ballast::cluster
