#include <gtest/gtest.h>

#include <string>

#include "messages/link_queue_impl.hpp"

namespace ballast {
namespace {

using pushed = link_queue::pushed;

outgoing letter(const std::string& peer, int mark, std::size_t bytes = 1) {
  return {peer, byte_buffer(bytes, static_cast<std::byte>(mark))};
}

// "a1 b2": peers and marks of what was taken.
std::string shown(const std::vector<outgoing>& messages) {
  std::string s;
  for (const auto& m : messages) s += (s.empty() ? "" : " ") + m.peer + std::to_string(static_cast<int>(m.frame[0]));
  return s;
}

TEST(link_queue, peers_take_turns_and_each_keeps_its_order) {
  link_queue q(10, 1000);
  for (int i = 1; i <= 3; ++i) q.push(letter("a", i));
  q.push(letter("b", 4)), q.push(letter("c", 5)), q.push(letter("b", 6));
  EXPECT_EQ(q.size(), 6u);
  EXPECT_EQ(shown(q.take(4)), "a1 b4 c5 a2");
  EXPECT_EQ(shown(q.take(9)), "b6 a3");
  EXPECT_EQ(shown(q.take(9)), "");
  EXPECT_EQ(q.size(), 0u);
}

TEST(link_queue, only_the_first_message_needs_the_bell) {
  link_queue q(10, 1000);
  EXPECT_EQ(q.push(letter("a", 1)), pushed::queued_first);
  EXPECT_EQ(q.push(letter("a", 2)), pushed::queued);
  EXPECT_EQ(q.push(letter("b", 3)), pushed::queued);
  q.take(9);
  EXPECT_EQ(q.push(letter("b", 4)), pushed::queued_first);
}

TEST(link_queue, the_bounds_hold_for_each_peer_alone) {
  link_queue q(2, 100);
  EXPECT_NE(q.push(letter("a", 1)), pushed::refused);
  EXPECT_NE(q.push(letter("a", 2)), pushed::refused);
  EXPECT_EQ(q.push(letter("a", 3)), pushed::refused);
  EXPECT_NE(q.push(letter("b", 4, 90)), pushed::refused);
  EXPECT_EQ(q.push(letter("b", 5, 11)), pushed::refused);
  EXPECT_NE(q.push(letter("b", 6, 10)), pushed::refused);
  EXPECT_NE(q.push(letter("c", 7, 5000)), pushed::refused) << "a peer with nothing waiting can always be sent one";
  EXPECT_EQ(q.push(letter("c", 8)), pushed::refused);
  EXPECT_EQ(shown(q.take(9)), "a1 b4 c7 a2 b6");
  EXPECT_NE(q.push(letter("a", 9)), pushed::refused);
}

TEST(link_queue, what_is_held_up_comes_first_once_it_is_released) {
  link_queue q(10, 1000);
  for (int i = 1; i <= 4; ++i) q.push(letter("a", i));
  q.push(letter("b", 5));
  auto taken = q.take(4);
  ASSERT_EQ(shown(taken), "a1 b5 a2 a3");
  q.push(letter("b", 6));
  std::vector<outgoing> unsent;
  for (auto& m : taken)
    if (m.peer == "a") unsent.push_back(std::move(m));
  q.hold_up(std::move(unsent));
  EXPECT_TRUE(q.held_up());
  EXPECT_EQ(q.size(), 5u);
  EXPECT_EQ(q.push(letter("a", 7)), pushed::queued);
  EXPECT_EQ(shown(q.take(9)), "b6");
  q.release();
  EXPECT_FALSE(q.held_up());
  EXPECT_EQ(shown(q.take(9)), "a1 a2 a3 a4 a7");
}

TEST(link_queue, a_peer_held_up_with_its_last_message_keeps_what_is_pushed_meanwhile) {
  link_queue q(10, 1000);
  q.push(letter("a", 1));
  auto taken = q.take(9);
  EXPECT_EQ(q.push(letter("a", 2)), pushed::queued_first);
  q.hold_up(std::move(taken));
  EXPECT_EQ(shown(q.take(9)), "");
  EXPECT_EQ(q.push(letter("b", 3)), pushed::queued_first);
  q.release();
  EXPECT_EQ(shown(q.take(9)), "b3 a1 a2");
}

}  // namespace
}  // namespace ballast
