// The pure part of the client: when a request is sent, where to, and what counts as its answer.
#include "cli/client/request_book.hpp"

#include <gtest/gtest.h>

#include <random>

namespace ballast {
namespace {

using namespace std::chrono_literals;

constexpr steady_time start{};

inference_request request_of(const std::string& id, std::uint32_t steps) {
  inference_request r;
  r.id = id;
  r.model = "m";
  r.tokens = 1;
  r.steps = steps;
  r.hidden = {0.0f, 1.0f};
  return r;
}

// What the model would answer: a function of the input alone.
std::vector<float> answer_of(std::uint32_t step) { return {static_cast<float>(step) + 0.5f, 7.0f}; }
inference_output output_of(const std::string& id, std::uint32_t step, bool last = false) {
  return {id, step, last, answer_of(step)};
}

template <class T>
std::vector<T> all(const request_effects& effects) {
  std::vector<T> found;
  for (const auto& effect : effects) {
    if (const auto* one = std::get_if<T>(&effect)) found.push_back(*one);
  }
  return found;
}

class request_book_test : public ::testing::Test {
 protected:
  // A book with front ends a and b open and one request, sent to a.
  void SetUp() override {
    (void)book.front_ends({"a", "b"}, {"a", "b"}, start);
    const auto sent = all<book_effect::send>(book.submit(request_of("r", 3), start));
    ASSERT_EQ(sent.size(), 1u);
    ASSERT_EQ(sent[0].front_end, "a");
  }
  request_book book{book_options{}};
};

TEST_F(request_book_test, spreads_requests_over_the_open_front_ends) {
  EXPECT_EQ(all<book_effect::send>(book.submit(request_of("s", 1), start))[0].front_end, "b");
  EXPECT_EQ(all<book_effect::send>(book.submit(request_of("t", 1), start))[0].front_end, "a");
}

TEST_F(request_book_test, finishes_with_the_times_of_every_step) {
  (void)book.on(output_of("r", 0), start + 10ms);
  (void)book.on(output_of("r", 1), start + 13ms);
  const auto done = all<book_effect::finished>(book.on(output_of("r", 2, true), start + 17ms));
  ASSERT_EQ(done.size(), 1u);
  EXPECT_FALSE(done[0].record.failure.has_value());
  EXPECT_EQ(done[0].record.arrivals, (std::vector<steady_time>{start + 10ms, start + 13ms, start + 17ms}));
  EXPECT_EQ(done[0].record.outputs.back(), answer_of(2));
  EXPECT_EQ(book.running(), 0u);
}

TEST_F(request_book_test, silence_sends_again_from_the_last_output) {
  (void)book.on(output_of("r", 0), start + 10ms);
  EXPECT_TRUE(book.tick(start + 509ms).empty());
  const auto sent = all<book_effect::send>(book.tick(start + 510ms));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].front_end, "a");
  EXPECT_EQ(sent[0].request.first_step, 1u);
  EXPECT_EQ(sent[0].request.hidden, answer_of(0));
  EXPECT_EQ(sent[0].request.steps, 3u);
}

TEST_F(request_book_test, long_silence_tries_another_front_end) {
  std::vector<std::string> tried;
  for (int i = 1; i <= 4; ++i) {
    for (const auto& sent : all<book_effect::send>(book.tick(start + i * 500ms))) tried.push_back(sent.front_end);
  }
  EXPECT_EQ(tried, (std::vector<std::string>{"a", "a", "a", "b"}));
}

TEST_F(request_book_test, a_lost_front_end_loses_no_request) {
  const auto sent = all<book_effect::send>(book.front_ends({"b"}, {"b"}, start + 1ms));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].front_end, "b");
}

TEST_F(request_book_test, a_leaving_front_end_keeps_what_it_has) {
  EXPECT_TRUE(book.front_ends({"b"}, {"a", "b"}, start + 1ms).empty());
  EXPECT_EQ(all<book_effect::send>(book.submit(request_of("s", 1), start))[0].front_end, "b");
}

TEST_F(request_book_test, waits_when_nobody_serves_and_goes_on_when_somebody_does) {
  EXPECT_TRUE(all<book_effect::send>(book.front_ends({}, {}, start + 1ms)).empty());
  EXPECT_EQ(book.waiting(), 1u);
  EXPECT_EQ(all<book_effect::send>(book.front_ends({"c"}, {"c"}, start + 2ms)).size(), 1u);
  EXPECT_EQ(book.waiting(), 0u);
}

TEST_F(request_book_test, follows_a_move) {
  (void)book.on(output_of("r", 0), start + 10ms);
  const auto sent = all<book_effect::send>(book.on(request_moved{"r", "c", 1}, start + 11ms));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].front_end, "c");
  EXPECT_EQ(sent[0].request.first_step, 1u);
  EXPECT_TRUE(book.on(request_moved{"r", "c", 1}, start + 12ms).empty()) << "told twice, followed once";
}

TEST_F(request_book_test, outputs_that_overtake_others_wait_for_their_turn) {
  EXPECT_TRUE(all<book_effect::output>(book.on(output_of("r", 1), start + 5ms)).empty());
  const auto given = all<book_effect::output>(book.on(output_of("r", 0), start + 6ms));
  ASSERT_EQ(given.size(), 2u);
  EXPECT_EQ(given[0].step, 0u);
  EXPECT_EQ(given[1].step, 1u);
}

TEST_F(request_book_test, equal_duplicates_are_dropped) {
  (void)book.on(output_of("r", 0), start);
  EXPECT_TRUE(book.on(output_of("r", 0), start).empty());
  (void)book.on(output_of("r", 1), start);
  const auto done = all<book_effect::finished>(book.on(output_of("r", 2, true), start));
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].record.duplicates, 1u);
}

TEST_F(request_book_test, a_duplicate_with_other_bits_fails_the_request) {
  (void)book.on(output_of("r", 0), start);
  auto other = output_of("r", 0);
  other.hidden[1] = -7.0f;
  const auto done = all<book_effect::finished>(book.on(other, start));
  ASSERT_EQ(done.size(), 1u);
  ASSERT_TRUE(done[0].record.failure.has_value());
  EXPECT_EQ(done[0].record.failure->code, errc::corrupt);
}

TEST_F(request_book_test, an_output_of_the_wrong_size_or_step_fails_the_request) {
  const auto done = all<book_effect::finished>(book.on(inference_output{"r", 9, true, answer_of(9)}, start));
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].record.failure->code, errc::corrupt);
  (void)book.submit(request_of("s", 1), start);
  const auto short_one = all<book_effect::finished>(book.on(inference_output{"s", 0, true, {1.0f}}, start));
  ASSERT_EQ(short_one.size(), 1u);
  EXPECT_EQ(short_one[0].record.failure->code, errc::corrupt);
}

TEST_F(request_book_test, a_refusal_for_now_is_tried_elsewhere_and_one_for_good_is_final) {
  EXPECT_TRUE(book.on(request_refused{"r", {errc::does_not_fit, "full"}}, start).empty());
  const auto sent = all<book_effect::send>(book.tick(start + 50ms));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].front_end, "b");
  const auto done = all<book_effect::finished>(book.on(request_refused{"r", {errc::not_found, "no model m"}}, start));
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].record.failure->code, errc::not_found);
}

TEST_F(request_book_test, gives_up_at_last) {
  const auto done = all<book_effect::finished>(book.tick(start + book_options{}.give_up));
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].record.failure->code, errc::timed_out);
}

TEST_F(request_book_test, is_due_when_it_has_something_to_do) {
  ASSERT_TRUE(book.next_due().has_value());
  EXPECT_EQ(*book.next_due(), start + 500ms);
  for (std::uint32_t step = 0; step < 3; ++step) (void)book.on(output_of("r", step, step == 2), start);
  EXPECT_FALSE(book.next_due().has_value());
}

// Front ends that lose, repeat and reorder messages, come and go: every request is answered, with the right outputs.
TEST(request_book, answers_everything_whatever_the_network_does) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    book_options options;
    options.keep_outputs = true;
    request_book book(options);
    std::vector<request_record> done;
    std::vector<message_body> network;
    steady_time now{};
    const auto perform = [&](const request_effects& effects) {
      for (const auto& effect : effects) {
        if (const auto* end = std::get_if<book_effect::finished>(&effect)) done.push_back(end->record);
        const auto* sent = std::get_if<book_effect::send>(&effect);
        if (sent == nullptr || chance(20)) continue;
        for (auto step = sent->request.first_step; step < sent->request.steps; ++step) {
          if (chance(10)) network.emplace_back(request_moved{sent->request.id, chance(50) ? "b" : "d", step});
          if (chance(10)) break;  // the agent dies here
          network.emplace_back(output_of(sent->request.id, step));
          if (chance(10)) network.push_back(network.back());
        }
      }
    };
    for (int i = 0; i < 8; ++i) perform(book.submit(request_of(std::to_string(i), 1 + random() % 6), now));
    for (int round = 0; round < 4000 && done.size() < 8; ++round) {
      now += std::chrono::milliseconds(random() % 40);
      if (round % 20 == 0)
        perform(book.front_ends(chance(20) ? std::set<std::string>{} : std::set<std::string>{"a", "b"}, {"a", "b", "c"},
                                now));
      perform(book.tick(now));
      for (int i = 0; i < 3 && !network.empty(); ++i) {
        std::swap(network[random() % network.size()], network.back());
        const auto message = network.back();
        network.pop_back();
        if (const auto* output = std::get_if<inference_output>(&message)) perform(book.on(*output, now));
        if (const auto* moved = std::get_if<request_moved>(&message)) perform(book.on(*moved, now));
      }
    }
    ASSERT_EQ(done.size(), 8u) << "seed " << seed;
    for (const auto& record : done) {
      ASSERT_FALSE(record.failure.has_value()) << "seed " << seed << ": " << record.failure->text;
      ASSERT_EQ(record.outputs.size(), record.request.steps) << "seed " << seed;
      for (std::uint32_t step = 0; step < record.request.steps; ++step)
        EXPECT_EQ(record.outputs[step], answer_of(step));
    }
  }
}

}  // namespace
}  // namespace ballast
