#include "cli/client/front_end_directory.hpp"

#include <gtest/gtest.h>

namespace ballast {
namespace {

seat_status seat_of(std::uint32_t id, const std::string& state, const std::string& front_end) {
  seat_status s;
  s.seat = seat_id{id};
  s.state = state;
  s.front_end = front_end;
  return s;
}

cluster_status status_of(std::uint64_t sequence, std::vector<seat_status> seats) {
  cluster_status all;
  all.event_sequence = sequence;
  all.seats = std::move(seats);
  return all;
}

event event_of(std::uint64_t sequence, std::vector<seat_status> seats) {
  event e;
  e.sequence = sequence;
  e.kind = "seat";
  e.seats = std::move(seats);
  return e;
}

using names = std::set<std::string>;

TEST(front_end_directory, only_active_seats_take_requests_and_leaving_ones_keep_theirs) {
  front_end_directory d;
  EXPECT_TRUE(d.on(status_of(1, {seat_of(0, "active", "a"), seat_of(1, "leaving", "b"), seat_of(2, "idle", "c"),
                                 seat_of(3, "lost", "d"), seat_of(4, "joining", "e")})));
  EXPECT_EQ(d.open(), names({"a"}));
  EXPECT_EQ(d.alive(), names({"a", "b"}));
  EXPECT_EQ(d.active_seats(), 1u);
}

TEST(front_end_directory, an_agent_with_one_active_seat_left_still_serves) {
  front_end_directory d;
  (void)d.on(status_of(1, {seat_of(0, "active", "a"), seat_of(1, "active", "a")}));
  EXPECT_FALSE(d.on(event_of(2, {seat_of(1, "lost", "a")})));
  EXPECT_EQ(d.open(), names({"a"}));
}

TEST(front_end_directory, a_gap_asks_for_the_status_and_the_status_closes_it) {
  front_end_directory d;
  (void)d.on(status_of(1, {seat_of(0, "active", "a")}));
  EXPECT_TRUE(d.on(event_of(4, {seat_of(0, "lost", "a")})));
  EXPECT_TRUE(d.gap());
  (void)d.on(status_of(4, {seat_of(0, "lost", "a")}));
  EXPECT_FALSE(d.gap());
}

TEST(front_end_directory, old_news_changes_nothing) {
  front_end_directory d;
  (void)d.on(event_of(5, {seat_of(0, "active", "a")}));
  EXPECT_FALSE(d.on(event_of(5, {seat_of(0, "lost", "a")})));
  EXPECT_FALSE(d.on(status_of(3, {seat_of(0, "lost", "a")}))) << "the status was overtaken by an event";
  EXPECT_EQ(d.open(), names({"a"}));
}

TEST(front_end_directory, a_new_coordinator_that_counts_from_one_is_believed) {
  front_end_directory d;
  (void)d.on(event_of(500, {seat_of(0, "active", "a")}));
  (void)d.on(status_of(1, {seat_of(0, "active", "b")}));
  EXPECT_TRUE(d.on(status_of(1, {seat_of(0, "active", "b")})));
  EXPECT_EQ(d.open(), names({"b"}));
}

}  // namespace
}  // namespace ballast
