#include "cli/load/load_generator.hpp"

#include <gtest/gtest.h>

#include <atomic>

#include "tests/cli/fakes.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

using fakes::soon;

class load_generator_test : public ::testing::Test {
 protected:
  std::unique_ptr<load_generator> start(load_options load, load_generator::sink sink = {}) {
    coordinator.set_seat(0, "active", agent.address());
    serving_options serving;
    serving.coordinator = coordinator.address();
    serving.events = coordinator.events_address();
    auto made = load_generator::start(
        context, serving, load,
        [this](std::uint64_t number) {
          inference_request r;
          r.id = std::to_string(number);
          r.model = model;
          r.tokens = 2;
          r.steps = 5;
          r.hidden = hidden;
          return r;
        },
        std::move(sink));
    EXPECT_TRUE(made.has_value());
    return std::move(*made);
  }

  const std::string model = "m";
  std::vector<float> hidden = std::vector<float>(8, 1.0f);
  link_context context;
  fakes::fake_coordinator coordinator{context, "inproc://control", "inproc://events"};
  fakes::fake_agent agent{context, "inproc://agent"};
};

TEST_F(load_generator_test, the_closed_loop_sends_so_many_and_times_every_step) {
  std::atomic<int> records{0};
  load_options load;
  load.concurrency = 4;
  load.requests = 50;
  const auto traffic = start(load, [&](const request_record&) { ++records; });
  ASSERT_TRUE(traffic->wait(soon));
  const auto totals = traffic->totals();
  EXPECT_EQ(totals.sent, 50u);
  EXPECT_EQ(totals.answered, 50u);
  EXPECT_EQ(totals.outputs, 250u);
  EXPECT_EQ(totals.tokens, 500u);
  EXPECT_EQ(traffic->first_output_ms().size(), 50u);
  EXPECT_EQ(traffic->step_ms().size(), 200u);
  EXPECT_EQ(records, 50);
}

TEST_F(load_generator_test, the_open_loop_sends_at_a_rate) {
  load_options load;
  load.request_rate = 2000;
  load.requests = 40;
  const auto traffic = start(load);
  ASSERT_TRUE(traffic->wait(soon));
  EXPECT_EQ(traffic->totals().answered, 40u);
}

TEST_F(load_generator_test, requests_that_can_never_be_sent_are_failures_and_no_hang) {
  load_options load;
  load.requests = 20;
  hidden = {};
  const auto traffic = start(load);
  ASSERT_TRUE(traffic->wait(soon));
  EXPECT_EQ(traffic->totals().failed, 20u);
  EXPECT_FALSE(traffic->totals().failures.empty());
}

TEST_F(load_generator_test, stops_when_told_and_lets_the_rest_end) {
  std::atomic<int> records{0};
  std::unique_ptr<load_generator> traffic = start({}, [&](const request_record&) { ++records; });
  traffic->stop();
  ASSERT_TRUE(traffic->wait(soon));
  const auto totals = traffic->totals();
  EXPECT_EQ(totals.answered, totals.sent);
  EXPECT_EQ(records, static_cast<int>(totals.sent));
}

}  // namespace
}  // namespace ballast
