#include "agent/rank_machine.hpp"

#include <gtest/gtest.h>

namespace ballast {
namespace {

constexpr seat_id seat{3};

seat_command make(std::uint64_t sequence, command_body body, incarnation_t incarnation = 1) {
  return {seat, incarnation, sequence, 77, std::move(body)};
}

template <class Effect>
const Effect* find(const rank_effects& effects) {
  for (const auto& e : effects)
    if (const auto* found = std::get_if<Effect>(&e)) return found;
  return nullptr;
}

const seat_outcome& answer(const rank_effects& effects) {
  const auto* found = find<rank_effect::answer>(effects);
  EXPECT_NE(found, nullptr);
  static const seat_outcome none{};
  return found ? found->outcome : none;
}

struct rank_machine_test : testing::Test {
  rank_machine machine{seat, 1};
  rank_effects command(std::uint64_t sequence, command_body body) { return machine.on(rank_event::commanded{make(sequence, std::move(body))}); }
  rank_effects notice(std::uint64_t sequence, bool switched = false) {
    return machine.on(rank_event::noticed{{sequence, std::nullopt, switched}, 12, 5});
  }
  void connect(std::uint64_t sequence, epoch_t epoch) {
    command(sequence, command::connect_comm{epoch, {}});
    EXPECT_TRUE(answer(machine.on(rank_event::connected{sequence, epoch, {}})).ok);
  }
};

TEST_F(rank_machine_test, stages_then_enters_then_answers_with_the_bytes) {
  const auto begun = command(1, command::stage{{stage_item{0, 1, 2, 3, {}}}});
  ASSERT_NE(find<rank_effect::fetch>(begun), nullptr);
  EXPECT_EQ(find<rank_effect::answer>(begun), nullptr);
  ASSERT_NE(find<rank_effect::enter>(machine.on(rank_event::fetched{1, {}, 4096})), nullptr);
  const auto done = notice(1);
  EXPECT_TRUE(answer(done).ok);
  EXPECT_EQ(answer(done).bytes, 4096u);
  EXPECT_EQ(answer(done).operation, 77u);
  EXPECT_EQ(answer(done).step, 12u);
}

TEST_F(rank_machine_test, gives_the_pages_of_a_failed_fetch_back) {
  command(1, command::stage{{stage_item{}}});
  const auto failed = machine.on(rank_event::fetched{1, fail(errc::corrupt, "bits"), 0});
  EXPECT_NE(find<rank_effect::discard>(failed), nullptr);
  EXPECT_EQ(answer(failed).failure.code, errc::corrupt);
}

TEST_F(rank_machine_test, takes_sessions_again_when_it_resumes_although_it_was_drained) {
  command(1, command::drain{});
  machine.on(rank_event::drained{1});
  command(2, command::halt{});
  connect(3, 4);
  EXPECT_NE(find<rank_effect::undrain>(command(4, command::resume{4, 1, {}})), nullptr);
}

TEST_F(rank_machine_test, answers_a_repeat_with_the_same_outcome_and_does_nothing_twice) {
  command(1, command::publish{});
  EXPECT_TRUE(command(1, command::publish{}).empty()) << "still under way";
  const auto first = answer(notice(1));
  const auto again = command(1, command::publish{});
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(answer(again), first);
  EXPECT_TRUE(find<rank_effect::answer>(again)->again);
}

TEST_F(rank_machine_test, does_not_obey_a_command_that_a_newer_one_overtook) {
  command(5, command::halt{});
  const auto late = command(4, command::arm{2, false, {}});
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(answer(late).failure.code, errc::fenced);
}

TEST_F(rank_machine_test, does_not_obey_another_incarnation_or_seat) {
  for (auto c : {make(1, command::halt{}, 2), seat_command{seat_id{4}, 1, 1, 0, command::halt{}}}) {
    const auto out = machine.on(rank_event::commanded{c});
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(answer(out).failure.code, errc::fenced);
  }
}

TEST_F(rank_machine_test, refuses_to_switch_to_a_communicator_it_never_connected) {
  EXPECT_EQ(answer(command(1, command::arm{4, true, {}})).failure.code, errc::conflict);
  EXPECT_EQ(answer(command(2, command::resume{4, 1, {}})).failure.code, errc::conflict);
  connect(3, 4);
  EXPECT_NE(find<rank_effect::order>(command(4, command::arm{4, true, {}})), nullptr);
  command(5, command::halt{});
  EXPECT_EQ(answer(command(6, command::resume{4, 1, {}})).failure.code, errc::conflict) << "halt dropped it";
}

TEST_F(rank_machine_test, halt_aborts_communicators_before_it_waits_for_the_loop) {
  const auto out = command(1, command::halt{});
  ASSERT_EQ(out.size(), 3u);
  EXPECT_TRUE(std::holds_alternative<rank_effect::abort_comms>(out[1]));
  EXPECT_TRUE(std::holds_alternative<rank_effect::order>(out[2]));
}

// The lost member may be the source; what comes next would wait behind the pull for its deadline.
TEST_F(rank_machine_test, halt_gives_fetches_up_and_answers_the_stage_when_they_have_ended) {
  command(1, command::stage{{stage_item{}}});
  EXPECT_NE(find<rank_effect::cancel_fetches>(command(2, command::halt{})), nullptr);
  const auto given_up = machine.on(rank_event::fetched{1, fail(errc::aborted, "staging was given up"), 0});
  EXPECT_EQ(answer(given_up).sequence, 1u);
  EXPECT_EQ(answer(given_up).failure.code, errc::aborted);
  EXPECT_TRUE(answer(notice(2)).ok);
}

TEST_F(rank_machine_test, release_forgets_what_is_under_way_and_gives_its_pages_back) {
  command(1, command::stage{{stage_item{}}});
  const auto out = command(2, command::release{});
  EXPECT_NE(find<rank_effect::cancel_fetches>(out), nullptr);
  EXPECT_NE(find<rank_effect::empty_all>(out), nullptr);
  ASSERT_NE(find<rank_effect::discard>(out), nullptr);
  EXPECT_EQ(find<rank_effect::discard>(out)->sequence, 1u);
  EXPECT_NE(find<rank_effect::discard>(machine.on(rank_event::fetched{1, {}, 9})), nullptr) << "a late fetch is not entered";
  EXPECT_TRUE(answer(notice(2)).ok);
}

TEST_F(rank_machine_test, reports_a_failed_communicator) {
  const auto out = machine.on(rank_event::comm_failed{5, {errc::timed_out, "seat 2 stayed away"}});
  const auto* trouble = find<rank_effect::trouble>(out);
  ASSERT_NE(trouble, nullptr);
  EXPECT_EQ(trouble->report.seat, seat);
  EXPECT_EQ(trouble->report.epoch, 5u);
}

// A report can be lost on its way; until something is done about it, it is made again.
TEST_F(rank_machine_test, repeats_its_report_with_every_beat_until_it_is_told_what_to_do) {
  EXPECT_TRUE(machine.on(rank_event::beat{}).empty());
  machine.on(rank_event::comm_failed{5, {errc::timed_out, "seat 2 stayed away"}});
  for (int i = 0; i < 3; ++i) {
    const auto out = machine.on(rank_event::beat{});
    ASSERT_NE(find<rank_effect::trouble>(out), nullptr);
    EXPECT_EQ(find<rank_effect::trouble>(out)->report.epoch, 5u);
  }
  command(1, command::publish{});
  EXPECT_FALSE(machine.on(rank_event::beat{}).empty()) << "that settles nothing";
  command(2, command::halt{});
  EXPECT_TRUE(machine.on(rank_event::beat{}).empty());
}

TEST_F(rank_machine_test, remembers_a_bounded_number_of_outcomes) {
  for (std::uint64_t s = 1; s <= rank_machine::remembered_outcomes + 1; ++s) {
    command(s, command::publish{});
    notice(s);
  }
  EXPECT_EQ(answer(command(1, command::publish{})).failure.code, errc::fenced);
  EXPECT_TRUE(answer(command(2, command::publish{})).ok);
}

}  // namespace
}  // namespace ballast
