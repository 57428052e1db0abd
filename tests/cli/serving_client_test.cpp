// The serving client against agents that lose, repeat, refuse and move requests, over inproc links.
#include "cli/client/serving_client.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>

#include "tests/cli/fakes.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;
using fakes::agent_plan;
using fakes::fake_agent;

using fakes::soon;

class serving_client_test : public ::testing::Test {
 protected:
  void serve(std::uint32_t seat, const fake_agent& agent) { coordinator.set_seat(seat, "active", agent.address()); }

  void connect(std::chrono::milliseconds progress_deadline = 500ms) {
    serving_options options;
    options.coordinator = coordinator.address();
    options.events = coordinator.events_address();
    options.book.keep_outputs = true;
    options.book.progress_deadline = progress_deadline;
    auto made = serving_client::connect(context, options, [this](request_record record) {
      const std::lock_guard lock(mutex);
      records[record.request.id] = std::move(record);
    });
    ASSERT_TRUE(made.has_value()) << made.error().text;
    client = std::move(*made);
  }

  inference_request request(const std::string& id, std::uint32_t steps = 4) const {
    inference_request r;
    r.id = id;
    r.model = "m";
    r.tokens = 2;
    r.steps = steps;
    r.hidden = {1.0f, -2.0f, 3.0f, 0.25f};
    return r;
  }

  request_record finish(const std::string& id) {
    const auto idle = client->wait_idle(soon);
    EXPECT_TRUE(idle.has_value()) << idle.error().text;
    const std::lock_guard lock(mutex);
    EXPECT_TRUE(records.contains(id));
    return records[id];
  }

  void expect_right(const request_record& record) const {
    EXPECT_FALSE(record.failure.has_value()) << record.failure->text;
    ASSERT_EQ(record.outputs.size(), record.request.steps);
    auto hidden = record.request.hidden;
    for (const auto& output : record.outputs) {
      hidden = fakes::next_hidden(std::move(hidden));
      EXPECT_EQ(output, hidden);
    }
  }

  link_context context;
  fakes::fake_coordinator coordinator{context, "inproc://control", "inproc://events"};
  std::mutex mutex;
  std::map<std::string, request_record> records;
  std::unique_ptr<serving_client> client;
};

TEST_F(serving_client_test, streams_an_answer) {
  const fake_agent a(context, "inproc://a");
  serve(0, a);
  connect();
  ASSERT_TRUE(client->submit(request("r")).has_value());
  const auto record = finish("r");
  expect_right(record);
  EXPECT_EQ(record.arrivals.size(), 4u);
  EXPECT_EQ(record.sends, 1u);
}

TEST_F(serving_client_test, waits_for_the_first_active_seat) {
  const fake_agent a(context, "inproc://a");
  connect();
  ASSERT_TRUE(client->submit(request("r")).has_value());
  serve(0, a);
  ASSERT_TRUE(client->wait_active(1, soon).has_value());
  expect_right(finish("r"));
}

TEST_F(serving_client_test, spreads_requests_over_all_active_seats) {
  const fake_agent a(context, "inproc://a"), b(context, "inproc://b");
  serve(0, a);
  serve(1, b);
  connect();
  ASSERT_TRUE(client->wait_active(2, soon).has_value());
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(client->submit(request(std::to_string(i))).has_value());
  ASSERT_TRUE(client->wait_idle(soon).has_value());
  EXPECT_EQ(records.size(), 64u);
  for (const auto& [id, record] : records) expect_right(record);
  EXPECT_GT(a.requests(), 0u);
  EXPECT_GT(b.requests(), 0u);
}

TEST_F(serving_client_test, sends_again_after_silence_from_the_last_output) {
  agent_plan plan;
  plan.outputs = 2;
  const fake_agent a(context, "inproc://a", plan);
  serve(0, a);
  connect(50ms);
  ASSERT_TRUE(client->submit(request("r", 6)).has_value());
  const auto record = finish("r");
  expect_right(record);
  EXPECT_GE(record.sends, 3u);
  EXPECT_EQ(a.last_first_step(), 4u);
}

TEST_F(serving_client_test, an_agent_that_never_answers_is_left_for_another) {
  agent_plan dead;
  dead.ignore = 1u << 30;
  const fake_agent a(context, "inproc://a", dead), b(context, "inproc://b");
  serve(0, a);
  connect(20ms);
  ASSERT_TRUE(client->submit(request("r")).has_value());
  serve(1, b);
  expect_right(finish("r"));
  EXPECT_GT(b.requests(), 0u);
}

TEST_F(serving_client_test, a_lost_seat_moves_its_requests_at_once) {
  agent_plan dies;
  dies.outputs = 2;
  const fake_agent a(context, "inproc://a", dies), b(context, "inproc://b");
  serve(0, a);
  connect(10s);  // longer than the test may take: silence alone would not do
  ASSERT_TRUE(client->submit(request("r")).has_value());
  ASSERT_TRUE(client->wait_active(1, soon).has_value());
  serve(1, b);
  coordinator.set_seat(0, "lost", a.address());
  const auto record = finish("r");
  expect_right(record);
  EXPECT_GE(b.requests(), 1u);
}

TEST_F(serving_client_test, learns_of_a_lost_seat_though_the_event_was_lost) {
  agent_plan dies;
  dies.outputs = 1;
  const fake_agent a(context, "inproc://a", dies), b(context, "inproc://b");
  serve(0, a);
  connect(10s);
  ASSERT_TRUE(client->submit(request("r")).has_value());
  coordinator.set_seat(1, "active", b.address(), false);
  coordinator.set_seat(0, "lost", a.address(), false);
  expect_right(finish("r"));
}

TEST_F(serving_client_test, follows_a_moved_request_to_a_seat_it_did_not_know) {
  const fake_agent b(context, "inproc://b");
  agent_plan drained;
  drained.outputs = 2;
  drained.moved_to = b.address();
  const fake_agent a(context, "inproc://a", drained);
  serve(0, a);
  connect(10s);
  ASSERT_TRUE(client->submit(request("r")).has_value());
  const auto record = finish("r");
  expect_right(record);
  EXPECT_EQ(record.moves, 1u);
  EXPECT_EQ(b.last_first_step(), 2u);
}

TEST_F(serving_client_test, drops_equal_duplicates) {
  agent_plan plan;
  plan.twice = true;
  const fake_agent a(context, "inproc://a", plan);
  serve(0, a);
  connect();
  ASSERT_TRUE(client->submit(request("r")).has_value());
  const auto record = finish("r");
  expect_right(record);
  EXPECT_EQ(record.duplicates, 3u) << "the last output's twin comes after the end";
}

TEST_F(serving_client_test, a_duplicate_with_other_bits_is_an_error) {
  agent_plan plan;
  plan.wrong_twin = true;
  const fake_agent a(context, "inproc://a", plan);
  serve(0, a);
  connect();
  ASSERT_TRUE(client->submit(request("r")).has_value());
  const auto record = finish("r");
  ASSERT_TRUE(record.failure.has_value());
  EXPECT_EQ(record.failure->code, errc::corrupt);
  EXPECT_EQ(client->counters().failed, 1u);
}

TEST_F(serving_client_test, is_idle_only_when_the_caller_has_been_told_of_every_end) {
  const fake_agent a(context, "inproc://a");
  serve(0, a);
  std::promise<void> told, seen;
  serving_options options;
  options.coordinator = coordinator.address();
  auto made = serving_client::connect(context, options, [&](const request_record&) {
    told.set_value();
    seen.get_future().wait();
  });
  ASSERT_TRUE(made.has_value()) << made.error().text;
  ASSERT_TRUE((*made)->submit(request("r")).has_value());
  told.get_future().wait();
  EXPECT_FALSE((*made)->wait_idle(0ms).has_value());
  seen.set_value();
  EXPECT_TRUE((*made)->wait_idle(soon).has_value());
}

TEST_F(serving_client_test, a_full_agent_is_asked_again) {
  agent_plan full;
  full.refusals = 3;
  const fake_agent a(context, "inproc://a", full);
  serve(0, a);
  connect();
  ASSERT_TRUE(client->submit(request("r")).has_value());
  const auto record = finish("r");
  expect_right(record);
  EXPECT_EQ(record.refusals, 3u);
}

TEST_F(serving_client_test, a_refusal_for_good_is_given_to_the_caller) {
  agent_plan strict;
  strict.refusals = 1;
  strict.refusal = {errc::not_found, "no model m"};
  const fake_agent a(context, "inproc://a", strict);
  serve(0, a);
  connect();
  ASSERT_TRUE(client->submit(request("r")).has_value());
  const auto record = finish("r");
  ASSERT_TRUE(record.failure.has_value());
  EXPECT_EQ(record.failure->text, "no model m");
}

TEST_F(serving_client_test, impossible_requests_are_refused_before_they_are_sent) {
  connect();
  auto r = request("r");
  r.hidden.pop_back();
  EXPECT_EQ(client->submit(r).error().code, errc::invalid_argument);
  r = request("");
  EXPECT_EQ(client->submit(r).error().code, errc::invalid_argument);
  EXPECT_EQ(client->running(), 0u);
}

TEST_F(serving_client_test, ends_while_requests_are_running) {
  agent_plan dead;
  dead.ignore = 1u << 30;
  const fake_agent a(context, "inproc://a", dead);
  serve(0, a);
  connect();
  ASSERT_TRUE(client->submit(request("r")).has_value());
  client.reset();
  EXPECT_TRUE(records.empty());
}

}  // namespace
}  // namespace ballast
