// A forward loop on a device of its own, without the actors around it.
#include "agent/forward_loop.hpp"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/gpu/support.hpp"
#include "tests/support/inbox.hpp"

namespace ballast {
namespace {

constexpr epoch_t epoch = 1;

struct forward_loop_test : testing::Test {
  gpu::moe_shape shape = gpu::test::small_shape();
  gpu::test::cluster alone{gpu::test::make_model(shape, 1), {.bind = "inproc://alone", .ranks = 1}};
  placement table = gpu::test::random_placement(shape, alone.seats(), shape.experts, 0, 1);
  std::function<void(std::uint64_t)> on_noticed = [](std::uint64_t) {};
  std::function<void()> during_step = [] {};
  test::inbox<session_output> outputs;
  std::unique_ptr<forward_loop> loop;

  void SetUp() override {
    ASSERT_TRUE(alone.load(table).has_value());
    loop_listener l;
    l.on_event = [this](const rank_event_body& e) {
      if (const auto* n = std::get_if<rank_event::noticed>(&e)) on_noticed(n->notice.sequence);
    };
    l.on_output = [this](session_output o) {
      during_step();
      outputs.put(std::move(o));
    };
    l.on_exported = [](auto, auto) {};
    l.on_loads = [](auto, auto, auto, auto, auto) {};
    l.on_discarded = [](auto) {};
    loop = std::make_unique<forward_loop>(alone.at(0), forward_loop::settings{.models = {shape}}, l);
    const auto half = alone.contributions(epoch).front();
    auto comm =
        alone.at(0).builder().connect(epoch, alone.seats()[0], {{alone.seats()[0], half}}, std::chrono::seconds(20));
    ASSERT_TRUE(comm.has_value()) << comm.error().text;
    loop->add_communicator(std::move(*comm));
  }
  loop_item::add_session one_step() { return {{"a", 0, 2, 1, 0, gpu::test::make_hidden(shape, 2, 3)}}; }
  loop_item::order resume(std::uint64_t sequence) {
    return {sequence, command::resume{epoch, 1, {table}}, {alone.at(0).make_routing(table).value()}};
  }
};

TEST_F(forward_loop_test, shows_since_when_a_step_is_under_way_until_it_has_ended) {
  const auto since = [this] { return loop->pulse().stepping_since.load(); };
  const std::chrono::steady_clock::time_point none{}, before = std::chrono::steady_clock::now();
  EXPECT_EQ(since(), none);
  std::promise<void> hangs, wakes;
  during_step = [&] {
    hangs.set_value();
    wakes.get_future().wait();
  };
  loop->post(resume(1));
  loop->post(one_step());
  hangs.get_future().wait();
  EXPECT_GE(since(), before);
  EXPECT_LE(since(), std::chrono::steady_clock::now());
  wakes.set_value();
  outputs.take();
  while (loop->pulse().steps == 0) std::this_thread::yield();
  while (since() != none) std::this_thread::yield();
}

// The session comes after the loop has taken its orders and before the one among them that gives it a communicator was
// carried out: nobody may be waited for then.
// Who looks may be put to sleep between reading the clock and reading since when a step is under way.
TEST(loop_pulse, a_step_that_began_after_the_look_has_taken_no_time) {
  using namespace std::chrono_literals;
  const auto now = std::chrono::steady_clock::now();
  loop_pulse pulse;
  EXPECT_EQ(pulse.stepping_ms(now), 0u);
  pulse.stepping_since = now - 1500us;
  EXPECT_EQ(pulse.stepping_ms(now), 2u);
  pulse.stepping_since = now + 5ms;
  EXPECT_EQ(pulse.stepping_ms(now), 0u);
}

TEST_F(forward_loop_test, sees_what_is_posted_while_it_changes_its_communicator) {
  std::promise<void> reached, posted;
  on_noticed = [&](std::uint64_t sequence) {
    if (sequence == 1) {
      reached.set_value();
      posted.get_future().wait();
    }
    if (sequence == 2) loop->post(one_step());
  };
  loop->post(loop_item::empty{1, {}});
  reached.get_future().wait();
  loop->post(loop_item::empty{2, {}});
  loop->post(resume(3));
  posted.set_value();
  const auto output = outputs.take();
  EXPECT_EQ(output.id, "a");
  EXPECT_TRUE(output.last);
}

}  // namespace
}  // namespace ballast
