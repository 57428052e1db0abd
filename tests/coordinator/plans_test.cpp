// Plans are checked whole before anything is sent; repairs bring back what was lost.
#include "coordinator/plans.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

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

// Random layers: shares stay legal, and no seat could hand load to another that has less, over an expert they share.
TEST(SolvedShares, LeaveNoSeatThatCouldHandLoadToOneWithLess) {
  std::mt19937_64 random(5);
  const auto any = [&](std::uint64_t most) { return static_cast<std::uint32_t>(random() % (most + 1)); };
  for (int round = 0; round < 300; ++round) {
    policies::placement_problem p;
    p.layers = 1;
    p.experts = 2 + any(30);
    const std::uint32_t seats = 2 + any(7);
    for (std::uint32_t s = 0; s < seats; ++s) p.seats.push_back({seat_id{s}, 0, 0.5 + any(4) / 4.0, {64, 4}});
    p.loads.assign(1, std::vector<double>(p.experts));
    placement table;
    table.layers.assign(1, layer_placement(p.experts));
    for (std::uint32_t e = 0; e < p.experts; ++e) {
      p.loads[0][e] = any(5) == 0 ? 0 : any(1000);
      for (std::uint32_t s = 0; s < seats; ++s)
        if (s == e % seats || any(4) == 0) table.layers[0][e].push_back({seat_id{s}, e, 1});
    }
    even_shares(table);
    const auto solved = with_solved_shares(table, p);
    const auto ok = policies::validate(solved, 1, p.experts, p.seats);
    ASSERT_TRUE(ok) << ok.error().text;
    EXPECT_LE(policies::imbalance(solved, p.loads, p.seats).mean,
              policies::imbalance(table, p.loads, p.seats).mean + 1e-9);
    std::vector<double> load(seats);
    for (std::uint32_t e = 0; e < p.experts; ++e)
      for (const auto& r : solved.layers[0][e])
        load[index_of(r.seat)] += r.share * p.loads[0][e] / p.seats[index_of(r.seat)].speed;
    const double mean = std::accumulate(load.begin(), load.end(), 0.0) / seats;
    for (std::uint32_t e = 0; e < p.experts; ++e)
      for (const auto& gives : solved.layers[0][e])
        for (const auto& takes : solved.layers[0][e]) {
          if (gives.share * p.loads[0][e] <= 0.02 * mean) continue;
          EXPECT_LE(load[index_of(gives.seat)], load[index_of(takes.seat)] + 0.02 * mean) << round;
        }
  }
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
