// The command line against a fake coordinator: exit codes, one-line errors, the shape of every JSON document.
#include <gtest/gtest.h>

#include <condition_variable>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "tests/cli/fakes.hpp"
#include "tests/cli/run_ballast.hpp"

namespace ballast {
namespace {

using document = nlohmann::json;
using test::is_one_line;
using test::outcome;

class usage_test : public ::testing::TestWithParam<std::vector<std::string>> {};

TEST_P(usage_test, is_refused_with_one_line_and_exit_code_2) {
  const auto o = test::run_ballast(GetParam());
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(is_one_line(o.err)) << o.err;
  EXPECT_EQ(o.out, "");
}

using words = std::vector<std::string>;
INSTANTIATE_TEST_SUITE_P(program, usage_test,
                         ::testing::Values(words{}, words{"stauts"}, words{"status", "--colour"}, words{"scale"},
                                           words{"scale", "--to", "2", "--seats", "0,1"}, words{"scale", "--to", "-1"},
                                           words{"scale", "--seats", "a,b"}, words{"abort"}, words{"abort", "first"},
                                           words{"bench"}, words{"bench", "--num-requests", "0"},
                                           words{"bench", "--duration", "1", "--request-rate", "-2"},
                                           words{"bench", "--num-requests", "1", "--duration", "1"}, words{"serve"},
                                           words{"make-checkpoint"}, words{"status", "--timeout", "soon"}));

TEST(program, help_is_no_error) {
  const auto o = test::run_ballast({"--help"});
  EXPECT_EQ(o.code, 0);
  for (const char* verb :
       {"serve", "status", "scale", "rebalance", "ops", "abort", "watch", "bench", "make-checkpoint", "demo"}) {
    EXPECT_NE(o.out.find(verb), std::string::npos) << verb;
  }
}

TEST(program, nobody_there_is_one_line_or_one_document) {
  const words nobody = {"--coordinator", "tcp://127.0.0.1:9", "--events", "tcp://127.0.0.1:9", "--timeout", "0.1"};
  words text{"status"}, json{"status", "--json"};
  text.insert(text.end(), nobody.begin(), nobody.end());
  json.insert(json.end(), nobody.begin(), nobody.end());
  auto o = test::run_ballast(text);
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(is_one_line(o.err)) << o.err;
  o = test::run_ballast(json);
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(is_one_line(o.out)) << o.out;
  EXPECT_EQ(document::parse(o.out)["error"]["code"], "unavailable");
}

operation_status operation(operation_id id, const std::string& kind, const std::string& how) {
  operation_status op;
  op.id = id;
  op.kind = kind;
  op.outcome = how;
  op.target = {seat_id{0}, seat_id{2}};
  op.seconds = 1.25;
  op.bytes_moved = 4096;
  return op;
}

// Answers every question; scale to more than 4 ranks is refused, operation 9 was aborted.
std::vector<message_body> answer(const message_body& m) {
  if (std::holds_alternative<get_operations>(m)) {
    return {operation_list{{operation(5, "scale", "done"), operation(9, "rebalance", "aborted")}}};
  }
  if (const auto* scale = std::get_if<scale_request>(&m)) {
    if (scale->ranks > 4) return {refused{{errc::does_not_fit, "5 ranks asked for, 4 seats joined;\nstart an agent"}}};
    return {accepted{5}};
  }
  if (const auto* rebalance = std::get_if<rebalance_request>(&m)) {
    if (rebalance->dry_run) return {rebalance_preview{"m", 1.5, 1.02, 12, 1u << 20, 3, true, "gain 3.1 x cost"}};
    return {accepted{9}};
  }
  if (const auto* abort = std::get_if<abort_request>(&m)) return {accepted{abort->operation}};
  return {};
}

class program_test : public ::testing::Test {
 protected:
  outcome ask(words arguments) {
    for (const auto& one :
         {std::string("--coordinator"), coordinator.address(), std::string("--events"), coordinator.events_address()}) {
      arguments.push_back(one);
    }
    return test::run_ballast(std::move(arguments));
  }

  document ask_json(words arguments, int code = 0) {
    arguments.push_back("--json");
    const auto o = ask(std::move(arguments));
    EXPECT_EQ(o.code, code) << o.out << o.err;
    EXPECT_TRUE(is_one_line(o.out)) << o.out;
    return document::parse(o.out, nullptr, false);
  }

  link_context context;
  fakes::fake_coordinator coordinator{context, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", answer};
};

TEST_F(program_test, status_lists_seats_models_and_operations) {
  coordinator.set_seat(2, "active", "tcp://10.0.0.1:1");
  const auto d = ask_json({"status"});
  for (const char* key : {"epoch", "steps", "models", "seats", "operations", "event_sequence"})
    EXPECT_TRUE(d.contains(key)) << key;
  ASSERT_EQ(d["seats"].size(), 1u);
  EXPECT_EQ(d["seats"][0]["seat"], 2);
  EXPECT_EQ(d["seats"][0]["state"], "active");
  const auto o = ask({"status"});
  EXPECT_NE(o.out.find("1 of 1 seats active"), std::string::npos) << o.out;
}

TEST_F(program_test, ops_lists_operations) {
  const auto d = ask_json({"ops"});
  ASSERT_EQ(d["operations"].size(), 2u);
  EXPECT_EQ(d["operations"][0]["target"], document::parse("[0,2]"));
  EXPECT_EQ(d["operations"][1]["outcome"], "aborted");
}

TEST_F(program_test, scale_waits_for_the_outcome_or_does_not) {
  const auto d = ask_json({"scale", "--to", "2"});
  EXPECT_EQ(d["id"], 5);
  EXPECT_EQ(d["outcome"], "done");
  EXPECT_EQ(ask_json({"scale", "--seats", "0,2", "--no-wait"}), document::parse(R"({"operation":5})"));
}

TEST_F(program_test, a_refused_scale_is_one_line_and_exit_code_1) {
  const auto d = ask_json({"scale", "--to", "5"}, 1);
  EXPECT_EQ(d["error"]["code"], "does_not_fit");
  const auto o = ask({"scale", "--to", "5"});
  EXPECT_EQ(o.code, 1);
  EXPECT_TRUE(is_one_line(o.err)) << o.err;
}

TEST_F(program_test, an_operation_that_was_aborted_is_a_failure) {
  EXPECT_EQ(ask_json({"rebalance"}, 1)["error"]["code"], "aborted");
}

TEST_F(program_test, a_dry_run_shows_the_plan) {
  const auto d = ask_json({"rebalance", "--dry-run", "--model", "m"});
  EXPECT_EQ(d["moves"], 12);
  EXPECT_EQ(d["pays"], true);
  EXPECT_NE(ask({"rebalance", "--dry-run"}).out.find("1.500 -> 1.020"), std::string::npos);
}

TEST_F(program_test, abort_names_the_operation) { EXPECT_EQ(ask_json({"abort", "5"})["operation"], 5); }

TEST_F(program_test, watch_prints_one_document_a_line) {
  // A subscription takes effect some time after it was made: events go on until the watcher has had enough.
  std::mutex mutex;
  std::condition_variable ended;
  bool over = false;
  std::thread publisher([&] {
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, std::chrono::milliseconds(10), [&] { return over; })) {
      event news;
      news.kind = "operation";
      news.text = "two\nlines";
      news.operation = {operation(5, "scale", "running")};
      coordinator.publish(news);
    }
  });
  const auto o = ask({"watch", "--json", "--count", "3"});
  {
    const std::lock_guard lock(mutex);
    over = true;
  }
  ended.notify_all();
  publisher.join();
  EXPECT_EQ(o.code, 0);
  std::istringstream lines(o.out);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_EQ(document::parse(line)["operation"]["id"], 5);
  EXPECT_EQ(count, 3u);
}

}  // namespace
}  // namespace ballast
