// The operator's client against a coordinator that answers late, not at all, or by events only.
#include "cli/client/control_client.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "tests/cli/fakes.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

using fakes::soon;

operation_status operation(operation_id id, const std::string& outcome, const std::string& phase) {
  operation_status op;
  op.id = id;
  op.kind = "scale";
  op.outcome = outcome;
  op.phase = phase;
  return op;
}

class control_client_test : public ::testing::Test {
 protected:
  void start(fakes::fake_coordinator::responder answer) {
    coordinator =
        std::make_unique<fakes::fake_coordinator>(context, "inproc://control", "inproc://events", std::move(answer));
    control_options options;
    options.coordinator = coordinator->address();
    options.events = coordinator->events_address();
    options.attempt = 50ms;
    options.deadline = deadline;
    auto made = control_client::connect(context, options);
    ASSERT_TRUE(made.has_value());
    client = std::move(*made);
  }

  link_context context;
  std::chrono::milliseconds deadline = soon;
  std::unique_ptr<fakes::fake_coordinator> coordinator;
  std::unique_ptr<control_client> client;
};

TEST_F(control_client_test, asks_for_the_status) {
  start({});
  coordinator->set_seat(3, "idle", "x");
  const auto all = client->get_status();
  ASSERT_TRUE(all.has_value()) << all.error().text;
  ASSERT_EQ(all->seats.size(), 1u);
  EXPECT_EQ(all->seats[0].seat, seat_id{3});
}

TEST_F(control_client_test, sends_an_unanswered_command_again_under_the_same_request_id) {
  std::mutex mutex;
  std::set<std::string> ids;
  int commands = 0;
  start([&](const message_body& m) -> std::vector<message_body> {
    const auto* scale = std::get_if<scale_request>(&m);
    if (scale == nullptr) return {};
    const std::lock_guard lock(mutex);
    ids.insert(scale->request);
    if (++commands < 3) return {};
    return {accepted{7}};
  });
  scale_request request;
  request.ranks = 2;
  const auto id = client->scale(request);
  ASSERT_TRUE(id.has_value()) << id.error().text;
  EXPECT_EQ(*id, 7u);
  EXPECT_GE(commands, 3);
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_FALSE(ids.begin()->empty());
}

TEST_F(control_client_test, two_commands_have_different_request_ids_also_from_two_clients) {
  std::mutex mutex;
  std::set<std::string> ids;
  start([&](const message_body& m) -> std::vector<message_body> {
    const auto* scale = std::get_if<scale_request>(&m);
    if (scale == nullptr) return {};
    const std::lock_guard lock(mutex);
    ids.insert(scale->request);
    return {accepted{ids.size()}};
  });
  ASSERT_TRUE(client->scale({}).has_value());
  ASSERT_TRUE(client->scale({}).has_value());
  control_options options;
  options.coordinator = coordinator->address();
  const auto other = control_client::connect(context, options).value();
  ASSERT_TRUE(other->scale({}).has_value());
  EXPECT_EQ(ids.size(), 3u);
}

TEST_F(control_client_test, a_refusal_is_the_callers_error) {
  start([](const message_body& m) -> std::vector<message_body> {
    if (!std::holds_alternative<scale_request>(m)) return {};
    return {refused{{errc::does_not_fit, "9 ranks asked for, 7 seats joined"}}};
  });
  const auto id = client->scale({});
  ASSERT_FALSE(id.has_value());
  EXPECT_EQ(id.error(), (error{errc::does_not_fit, "9 ranks asked for, 7 seats joined"}));
}

TEST_F(control_client_test, silence_ends_in_one_error_that_names_the_address) {
  deadline = 120ms;
  start([](const message_body&) { return std::vector<message_body>{}; });
  const auto ops = client->operations();
  ASSERT_FALSE(ops.has_value());
  EXPECT_EQ(ops.error().code, errc::unavailable);
  EXPECT_NE(ops.error().text.find("inproc://control"), std::string::npos);
  EXPECT_GE(coordinator->received("get_operations"), 2u);
}

TEST_F(control_client_test, an_answer_of_another_kind_is_an_error) {
  start([](const message_body&) { return std::vector<message_body>{accepted{1}}; });
  const auto all = client->get_status();
  ASSERT_FALSE(all.has_value());
  EXPECT_EQ(all.error().code, errc::malformed);
}

TEST_F(control_client_test, waits_for_the_outcome_by_asking_when_events_are_lost) {
  std::atomic<int> asked{0};
  start([&](const message_body& m) -> std::vector<message_body> {
    if (!std::holds_alternative<get_operations>(m)) return {};
    const bool over = ++asked >= 3;
    return {operation_list{{operation(4, over ? "done" : "running", over ? "" : "staging")}}};
  });
  std::vector<std::string> phases;
  const auto over = client->wait(4, soon, [&](const operation_status& now) { phases.push_back(now.outcome); });
  ASSERT_TRUE(over.has_value()) << over.error().text;
  EXPECT_EQ(over->outcome, "done");
  EXPECT_EQ(phases, (std::vector<std::string>{"running", "done"}));
}

TEST_F(control_client_test, waits_for_the_outcome_told_by_an_event) {
  // The coordinator answers questions with an older state for ever: only the event can tell.
  start([this](const message_body& m) -> std::vector<message_body> {
    if (!std::holds_alternative<get_operations>(m)) return {};
    event news;
    news.kind = "operation";
    news.operation = {operation(5, "aborted", "")};
    coordinator->publish(news);
    return {operation_list{{operation(5, "running", "staging")}}};
  });
  const auto over = client->wait(5, soon);
  ASSERT_TRUE(over.has_value()) << over.error().text;
  EXPECT_EQ(over->outcome, "aborted");
}

TEST_F(control_client_test, an_operation_nobody_knows_is_an_error) {
  start([](const message_body& m) -> std::vector<message_body> {
    if (!std::holds_alternative<get_operations>(m)) return {};
    return {operation_list{}};
  });
  const auto over = client->wait(6, soon);
  ASSERT_FALSE(over.has_value());
  EXPECT_EQ(over.error().code, errc::not_found);
}

}  // namespace
}  // namespace ballast
