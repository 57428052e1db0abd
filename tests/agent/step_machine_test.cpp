#include "agent/step_machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>
#include <random>
#include <set>

namespace ballast {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

placement table(version_t version) { return {0, version, {}}; }

step_machine stepping_on(epoch_t epoch) {
  step_machine m;
  m.take(1, command::resume{epoch, 1, {table(1)}});
  return m;
}

// One lockstep step of machines that share a communicator.
std::vector<step_machine::actions> step_together(std::vector<step_machine*> members) {
  std::vector<gpu::step_header> headers;
  for (auto* m : members)
    if (!m->joining()) headers.push_back(m->header({}));
  for (auto* m : members)
    if (m->joining()) {
      m->adopt(headers.front().step);
      headers.push_back(m->header({}));
    }
  std::vector<step_machine::actions> out;
  for (auto* m : members) out.push_back(m->after_headers(headers));
  std::set<version_t> tables;
  for (auto* m : members) tables.insert(m->version(0));
  EXPECT_EQ(tables.size(), 1u) << "ranks route by different tables in one step";
  for (std::size_t i = 0; i < members.size(); ++i) {
    auto after = members[i]->after_step();
    std::ranges::move(after.install, std::back_inserter(out[i].install));
    std::ranges::move(after.notices, std::back_inserter(out[i].notices));
    out[i].use = after.use;
  }
  return out;
}

TEST(step_machine, does_not_step_before_it_is_resumed) {
  step_machine m;
  EXPECT_FALSE(m.may_step());
  m.take(1, command::resume{7, 42, {table(3)}});
  EXPECT_TRUE(m.may_begin());
  EXPECT_EQ(m.epoch(), 7u);
  EXPECT_EQ(m.next_step(), 42u);
  EXPECT_EQ(m.version(0), 3u);
}

TEST(step_machine, switches_only_when_every_header_shows_the_epoch_and_then_everywhere_at_once) {
  auto a = stepping_on(1), b = stepping_on(1);
  a.take(2, command::arm{2, true, {table(2)}});
  EXPECT_TRUE(a.wants_step());
  auto first = step_together({&a, &b});
  EXPECT_FALSE(first[0].use.has_value());
  EXPECT_FALSE(a.wants_step()) << "shown once; the last one armed makes the step that decides";
  b.take(2, command::arm{2, true, {table(2)}});
  EXPECT_TRUE(b.wants_step());
  auto second = step_together({&a, &b});
  for (const auto& actions : second) {
    EXPECT_EQ(actions.use, std::optional<epoch_t>(2));
    EXPECT_THAT(actions.install, ElementsAre(table_id{0, 2}));
    ASSERT_EQ(actions.notices.size(), 1u);
    EXPECT_TRUE(actions.notices[0].switched);
  }
  EXPECT_EQ(a.previous(), 1u);
  EXPECT_EQ(a.next_step(), b.next_step());
}

TEST(step_machine, a_joiner_waits_for_its_peers_and_takes_their_step_number) {
  auto old = stepping_on(1);
  step_together({&old});
  step_machine joiner;
  joiner.take(1, command::arm{2, true, {table(2)}});
  EXPECT_TRUE(joiner.may_step());
  EXPECT_FALSE(joiner.may_begin());
  old.take(2, command::arm{2, true, {table(2)}});
  step_together({&old});
  EXPECT_TRUE(old.wants_step()) << "nobody may ask anything now: the joiner must learn of the switch all the same";
  const auto both = step_together({&old, &joiner});
  ASSERT_EQ(both[1].notices.size(), 1u);
  EXPECT_TRUE(both[1].notices[0].switched);
  EXPECT_EQ(joiner.next_step(), old.next_step());
  EXPECT_TRUE(joiner.may_begin());
  EXPECT_FALSE(old.wants_step());
}

TEST(step_machine, a_leaver_stops_at_the_switch_and_can_be_taken_back) {
  auto stays = stepping_on(1), leaves = stepping_on(1);
  stays.take(2, command::arm{2, true, {table(2)}});
  leaves.take(2, command::arm{2, false, {}});
  step_together({&stays, &leaves});
  EXPECT_EQ(leaves.epoch(), 0u);
  EXPECT_FALSE(leaves.may_step());
  for (auto* m : {&stays, &leaves}) {
    const auto back = m->take(3, command::revert{2, 9, {table(1)}});
    EXPECT_EQ(back.use, std::optional<epoch_t>(1));
    EXPECT_EQ(m->next_step(), 9u);
    EXPECT_EQ(m->version(0), 1u);
    EXPECT_TRUE(m->may_begin());
  }
}

TEST(step_machine, disarm_answers_the_truth_before_and_after_the_switch) {
  auto m = stepping_on(1);
  m.take(2, command::arm{2, true, {}});
  const auto before = m.take(3, command::disarm{2});
  ASSERT_EQ(before.notices.size(), 2u);
  EXPECT_TRUE(before.notices[0].failure.has_value()) << "the arm itself is answered too";
  EXPECT_FALSE(before.notices[1].switched);
  m.take(4, command::arm{2, true, {}});
  step_together({&m});
  const auto after = m.take(5, command::disarm{2});
  ASSERT_EQ(after.notices.size(), 1u);
  EXPECT_TRUE(after.notices[0].switched);
}

TEST(step_machine, probation_counts_good_steps_and_asks_for_empty_ones) {
  auto m = stepping_on(1);
  m.take(2, command::probation{1, 2});
  EXPECT_TRUE(m.wants_step());
  EXPECT_THAT(step_together({&m})[0].notices, IsEmpty());
  EXPECT_TRUE(m.wants_step());
  EXPECT_EQ(step_together({&m})[0].notices.size(), 1u);
  EXPECT_FALSE(m.wants_step());
  EXPECT_TRUE(m.take(3, command::probation{5, 2}).notices.at(0).failure.has_value());
}

TEST(step_machine, one_hold_stops_all_after_the_same_step) {
  auto a = stepping_on(1), b = stepping_on(1);
  a.take(2, command::hold{});
  EXPECT_TRUE(a.wants_step());
  step_together({&a, &b});
  EXPECT_TRUE(a.held() && b.held());
  EXPECT_EQ(a.last_step(), b.last_step());
  EXPECT_EQ(b.take(2, command::hold{}).notices.size(), 1u) << "held already: done at once";
  b.take(3, command::unhold{});
  EXPECT_TRUE(b.may_step());
}

TEST(step_machine, halt_answers_everything_under_way_and_drops_the_communicator) {
  auto m = stepping_on(1);
  m.take(2, command::arm{2, true, {}});
  m.take(3, command::probation{1, 5});
  const auto halted = m.take(4, command::halt{});
  EXPECT_EQ(halted.notices.size(), 3u);
  EXPECT_EQ(halted.use, std::optional<epoch_t>(0));
  EXPECT_FALSE(m.may_step());
  m.take(5, command::resume{9, 100, {table(4)}});
  EXPECT_EQ(m.next_step(), 100u);
}

TEST(step_machine, a_published_table_is_routed_by_in_the_first_step_in_which_every_rank_can) {
  auto a = stepping_on(1), b = stepping_on(1);
  EXPECT_THAT(a.take(2, command::publish{table(2)}).install, IsEmpty());
  EXPECT_TRUE(a.wants_step()) << "nobody may ask anything now";
  auto actions = step_together({&a, &b});
  EXPECT_THAT(actions[0].install, IsEmpty());
  EXPECT_FALSE(a.wants_step()) << "shown once; the last one makes the step that decides";
  EXPECT_THAT(b.take(2, command::publish{table(2)}).notices, IsEmpty());
  EXPECT_TRUE(b.wants_step());
  actions = step_together({&a, &b});
  for (const auto& each : actions) {
    EXPECT_THAT(each.install, ElementsAre(table_id{0, 2}));
    ASSERT_EQ(each.notices.size(), 1u);
    EXPECT_EQ(each.notices[0].sequence, 2u);
    EXPECT_FALSE(each.notices[0].failure);
  }
  EXPECT_FALSE(a.wants_step() || b.wants_step());
}

TEST(step_machine, a_rank_that_does_not_step_with_the_others_routes_by_a_published_table_at_once) {
  step_machine parked;
  EXPECT_THAT(parked.take(1, command::publish{table(2)}).install, ElementsAre(table_id{0, 2}));
  auto held = stepping_on(1);
  held.take(2, command::hold{});
  held.take(3, command::publish{table(2)});
  const auto stopped = step_together({&held});
  EXPECT_THAT(stopped[0].install, ElementsAre(table_id{0, 2}));
  EXPECT_THAT(held.take(4, command::publish{table(3)}).install, ElementsAre(table_id{0, 3}));
  auto broken = stepping_on(1);
  broken.failed();
  EXPECT_THAT(broken.take(2, command::publish{table(2)}).install, ElementsAre(table_id{0, 2}));
}

TEST(step_machine, a_hold_before_the_others_can_route_leaves_no_table_waiting) {
  auto a = stepping_on(1), b = stepping_on(1);
  a.take(2, command::publish{table(2)});
  b.take(3, command::hold{});
  const auto actions = step_together({&a, &b});
  EXPECT_THAT(actions[0].install, ElementsAre(table_id{0, 2}));
  EXPECT_THAT(b.take(2, command::publish{table(2)}).install, ElementsAre(table_id{0, 2}));
}

TEST(step_machine, tables_published_at_any_time_never_differ_in_a_step) {
  std::mt19937 random(5);
  std::vector<step_machine> ranks(4, stepping_on(1));
  version_t published = 1, answered = 0;
  std::vector<version_t> ordered(ranks.size(), 1);
  for (int round = 0; round < 4000; ++round) {
    const bool all_have_it = std::ranges::all_of(ranks, [&](const auto& r) { return r.version(0) == published; });
    if (all_have_it) answered = published++;
    for (std::size_t r = 0; r < ranks.size(); ++r)
      if (ordered[r] < published && random() % 3 == 0) {
        ordered[r] = published;
        ranks[r].take(published, command::publish{table(published)});
      }
    std::vector<step_machine*> all;
    for (auto& r : ranks) all.push_back(&r);
    if (std::ranges::any_of(ranks, [](const auto& r) { return r.wants_step(); })) step_together(all);
  }
  EXPECT_GT(answered, 400u) << "a table that all were given is routed by";
}

TEST(step_machine, a_failed_step_counts_for_nothing) {
  auto m = stepping_on(1);
  m.take(2, command::arm{2, true, {}});
  const auto header = m.header({});
  EXPECT_THAT(m.after_headers(std::vector{header}).install, IsEmpty());
  m.failed();
  EXPECT_EQ(m.last_step(), 0u);
  EXPECT_EQ(m.epoch(), 1u);
  EXPECT_FALSE(m.may_step());
  EXPECT_FALSE(m.take(3, command::disarm{2}).notices.back().switched);
}

// Whatever the order in which ranks are armed and disarmed, no two ever step the same epoch differently.
TEST(step_machine, random_arming_and_disarming_never_splits_the_members) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    std::vector<step_machine> ranks(2 + random() % 5, stepping_on(1));
    std::vector<step_machine*> members;
    for (auto& r : ranks) members.push_back(&r);
    std::uint64_t sequence = 10;
    for (int round = 0; round < 30; ++round) {
      auto& one = ranks[random() % ranks.size()];
      if (one.epoch() == 1) {
        if (random() % 3)
          one.take(++sequence, command::arm{2, true, {}});
        else
          EXPECT_FALSE(one.take(++sequence, command::disarm{2}).notices.back().switched);
      }
      step_together(members);
      for (const auto& r : ranks) {
        ASSERT_EQ(r.epoch(), ranks[0].epoch()) << "seed " << seed;
        ASSERT_EQ(r.next_step(), ranks[0].next_step()) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace ballast
