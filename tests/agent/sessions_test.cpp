#include "agent/sessions.hpp"

#include <gtest/gtest.h>

#include <map>

namespace ballast {
namespace {

session make(const std::string& id, std::uint32_t tokens, std::uint32_t steps, model_index model = 0) {
  return {id, model, tokens, steps, 0, std::vector<float>(tokens * 2, 1.0f)};
}

std::vector<float> rows_of(const std::vector<session*>& picked) {
  std::vector<float> rows;
  for (const auto* s : picked) rows.insert(rows.end(), s->hidden.begin(), s->hidden.end());
  return rows;
}

TEST(session_board, fills_a_batch_up_to_its_capacity_in_order) {
  session_board board(8);
  for (const auto* id : {"a", "b", "c"}) board.add(make(id, 3, 1));
  const auto& picked = board.pick(0);
  ASSERT_EQ(picked.size(), 2u);
  EXPECT_EQ(picked[0]->id, "a");
  EXPECT_EQ(picked[1]->id, "b");
}

TEST(session_board, a_large_session_is_not_starved_by_small_ones) {
  session_board board(8);
  board.add(make("large", 8, 2));
  for (int i = 0; i < 6; ++i) board.add(make("small" + std::to_string(i), 3, 50));
  std::map<std::string, int> made;
  for (int step = 0; step < 12; ++step)
    for (const auto& output : (board.pick(0), board.advance(0, rows_of(board.pick(0))))) ++made[output.id];
  EXPECT_EQ(made["large"], 2);
  for (int i = 0; i < 6; ++i) EXPECT_GE(made["small" + std::to_string(i)], 2) << i;
}

TEST(session_board, each_output_is_the_next_input_until_the_last) {
  session_board board(8);
  board.add(make("a", 1, 2));
  board.pick(0);
  auto first = board.advance(0, {5, 6});
  ASSERT_EQ(first.size(), 1u);
  EXPECT_FALSE(first[0].last);
  ASSERT_EQ(board.pick(0).size(), 1u);
  EXPECT_EQ(board.pick(0)[0]->hidden, (std::vector<float>{5, 6}));
  auto second = board.advance(0, {7, 8});
  EXPECT_TRUE(second[0].last);
  EXPECT_EQ(second[0].step, 1u);
  EXPECT_TRUE(board.empty());
}

TEST(session_board, models_have_lines_of_their_own) {
  session_board board(4);
  board.add(make("target", 4, 1, 0));
  board.add(make("draft", 4, 1, 1));
  EXPECT_EQ(board.pick(0).size(), 1u);
  EXPECT_EQ(board.pick(1).size(), 1u);
  EXPECT_EQ(board.take_all().size(), 2u);
  EXPECT_TRUE(board.empty());
}

TEST(session_board, a_cancelled_session_is_gone) {
  session_board board(4);
  board.add(make("a", 1, 9));
  EXPECT_TRUE(board.remove("a"));
  EXPECT_FALSE(board.remove("a"));
  EXPECT_TRUE(board.pick(0).empty());
}

}  // namespace
}  // namespace ballast
