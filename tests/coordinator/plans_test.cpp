// Plans are checked whole before anything is sent; repairs bring back what was lost.
#include "coordinator/plans.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

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
