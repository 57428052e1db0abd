#include "agent/front_end.hpp"

#include <gtest/gtest.h>

#include <future>

#include "tests/support/inbox.hpp"

namespace ballast {
namespace {

using test::inbox;

constexpr std::uint64_t bytes_of_one = front_end::session_overhead + 2 + 2 * sizeof(float);  // "rN", one token

// An agent's front end whose one rank is played by the test.
struct fake_agent {
  inbox<session> added;
  inbox<std::string> cancelled;
  std::unique_ptr<front_end> clients;

  fake_agent(link_context& context, const std::string& name, std::uint64_t client_bytes = 0) {
    front_end::options o;
    o.address = "inproc://front-end-" + name;
    o.name = name;
    o.models = {{"m", 2}};
    o.max_batch_tokens = 4;
    o.session_bytes = 8 * bytes_of_one;
    o.client_bytes = client_bytes;
    clients = *front_end::open(
        context, o,
        {{[this](session s) { added.put(std::move(s)); }, [this](std::string id) { cancelled.put(std::move(id)); }}});
    clients->set_accepting(0, true);
  }
  session_target target(std::uint32_t seat) const { return {seat_id{seat}, clients->address()}; }
};

struct fake_client {
  inbox<message_body> received;
  std::unique_ptr<link> wire;

  fake_client(link_context& context, const fake_agent& agent) {
    link_options o;
    o.address = agent.clients->address();
    o.name = "client";
    wire = *link::open(context, o, [this](const std::string&, envelope m) { received.put(std::move(m.body)); });
  }
  void send(message_body body) { ASSERT_TRUE(wire->send("", {1, "client", std::move(body)})); }
  template <class T>
  T take() {
    auto body = received.take();
    auto* found = std::get_if<T>(&body);
    if (!found) throw std::runtime_error(std::string("unexpected ") + message_name(body));
    return std::move(*found);
  }
};

struct front_end_test : testing::Test {
  link_context context;
  fake_agent agent{context, "one"};
  fake_client client{context, agent};
  static inference_request request(std::uint32_t first_step = 0) { return {"r1", "m", 1, 5, first_step, {1.0f, 2.0f}}; }
  // Until it has been taken.
  void pass_a_session_to(fake_agent& other) {
    client.send(request());
    std::promise<void> done;
    agent.clients->hand_over({agent.added.take()}, {other.target(2)}, [&] { done.set_value(); });
    done.get_future().wait();
  }
};

TEST_F(front_end_test, streams_outputs_in_order_and_forgets_a_finished_request) {
  client.send(request());
  EXPECT_EQ(agent.added.take().id, "r1");
  for (std::uint32_t step = 0; step < 5; ++step) {
    agent.clients->on_output({"r1", step, step == 4, {float(step), 0}});
    const auto out = client.take<inference_output>();
    EXPECT_EQ(out.step, step);
    EXPECT_EQ(out.last, step == 4);
  }
  EXPECT_EQ(agent.clients->sessions(), 0u);
}

TEST_F(front_end_test, the_same_request_again_attaches_and_is_not_run_twice) {
  client.send(request());
  agent.added.take();
  agent.clients->on_output({"r1", 0, false, {1, 1}});
  client.take<inference_output>();
  fake_client again(context, agent);
  again.send(request(1));
  again.send(cancel_request{"unknown"});  // answered by nothing; orders the next check after the request
  again.send(inference_request{"bad", "m", 1, 1, 0, {}});
  EXPECT_EQ(again.take<request_refused>().id, "bad");
  agent.clients->on_output({"r1", 1, false, {2, 2}});
  EXPECT_EQ(again.take<inference_output>().step, 1u);
}

TEST_F(front_end_test, a_client_that_stands_elsewhere_restarts_from_its_own_state) {
  client.send(request());
  agent.added.take();
  agent.clients->on_output({"r1", 0, false, {1, 1}});
  client.take<inference_output>();
  agent.clients->on_output({"r1", 1, false, {1, 1}});
  client.send(request(1));  // it never saw the output of step 1
  EXPECT_EQ(agent.cancelled.take(), "r1");
  const auto restarted = agent.added.take();
  EXPECT_EQ(restarted.next_step, 1u);
  EXPECT_EQ(restarted.hidden, (std::vector<float>{1, 2}));
}

TEST_F(front_end_test, refuses_what_can_never_run_in_one_line_each) {
  std::vector<inference_request> bad{{"a", "nobody", 1, 1, 0, {1, 1}}, {"b", "m", 5, 1, 0, std::vector<float>(10)},
                                     {"c", "m", 1, 0, 0, {1, 1}},      {"d", "m", 1, 1, 1, {1, 1}},
                                     {"e", "m", 1, 1, 0, {1}},         {"", "m", 1, 1, 0, {1, 1}},
                                     {"f", "m", 0, 1, 0, {}}};
  for (const auto& r : bad) {
    client.send(r);
    const auto refusal = client.take<request_refused>();
    EXPECT_EQ(refusal.id, r.id);
    EXPECT_EQ(refusal.failure.text.find('\n'), std::string::npos);
    EXPECT_GT(refusal.failure.text.size(), 20u);
  }
  EXPECT_EQ(agent.clients->sessions(), 0u);
}

TEST_F(front_end_test, keeps_to_its_session_budget_and_recovers) {
  for (int i = 0; i < 8; ++i) client.send(inference_request{"r" + std::to_string(i), "m", 1, 1, 0, {1, 1}});
  for (int i = 0; i < 8; ++i) agent.added.take();
  client.send(inference_request{"r8", "m", 1, 1, 0, {1, 1}});
  EXPECT_EQ(client.take<request_refused>().failure.code, errc::unavailable);
  agent.clients->on_output({"r0", 0, true, {1, 1}});
  client.take<inference_output>();
  client.send(inference_request{"r8", "m", 1, 1, 0, {1, 1}});
  EXPECT_EQ(agent.added.take().id, "r8");
}

inference_request numbered_request(int n) { return {"r" + std::to_string(n), "m", 1, 9, 0, {1, 1}}; }

TEST_F(front_end_test, one_client_holds_no_more_than_its_part_and_others_are_served) {
  fake_agent strict(context, "strict", 3 * bytes_of_one);
  fake_client greedy(context, strict), modest(context, strict);
  for (int i = 0; i < 100; ++i) greedy.send(numbered_request(i % 10));  // the first ones attach again
  for (int i = 0; i < 3; ++i) EXPECT_EQ(strict.added.take().id, "r" + std::to_string(i));
  const auto refusal = greedy.take<request_refused>();
  EXPECT_EQ(refusal.id, "r3");
  EXPECT_EQ(refusal.failure.code, errc::unavailable);
  EXPECT_NE(refusal.failure.text.find(std::to_string(3 * bytes_of_one) + " bytes that one client may"),
            std::string::npos);
  modest.send(numbered_request(20));
  EXPECT_EQ(strict.added.take().id, "r20");
  for (int i = 0; i < 69; ++i) EXPECT_EQ(greedy.take<request_refused>().failure.code, errc::unavailable);
  EXPECT_EQ(strict.clients->sessions(), 4u);
  greedy.send(cancel_request{"r1"});
  greedy.send(numbered_request(4));
  EXPECT_EQ(strict.added.take().id, "r4") << "what is done is room again";
}

TEST_F(front_end_test, gives_the_sessions_of_a_client_up_that_is_gone) {
  auto leaving = std::make_unique<fake_client>(context, agent);
  leaving->send(request());
  agent.added.take();
  leaving.reset();
  for (std::uint32_t step = 0; agent.clients->sessions() > 0; ++step) {
    agent.clients->on_output({"r1", step, false, {1, 1}});
    agent.clients->tick(std::chrono::steady_clock::now() + 2 * front_end::unattached_for);
  }
  EXPECT_EQ(agent.cancelled.take(), "r1");
}

TEST_F(front_end_test, hands_sessions_over_mid_stream_and_tells_the_client) {
  fake_agent other(context, "two");
  client.send(request());
  auto s = agent.added.take();
  agent.clients->on_output({"r1", 0, false, {7, 7}});
  client.take<inference_output>();
  s.next_step = 1;
  s.hidden = {7, 7};
  std::promise<void> done;
  agent.clients->set_accepting(0, false);
  agent.clients->hand_over({s}, {other.target(2)}, [&] { done.set_value(); });
  const auto taken = other.added.take();
  EXPECT_EQ(taken.next_step, 1u);
  EXPECT_EQ(taken.hidden, (std::vector<float>{7, 7}));
  other.clients->on_output({"r1", 1, false, {8, 8}});  // before the client has come: kept for it
  const auto moved = client.take<request_moved>();
  EXPECT_EQ(moved.front_end, other.clients->address());
  EXPECT_EQ(moved.next_step, 1u);
  done.get_future().wait();
  fake_client there(context, other);
  there.send(request(1));
  EXPECT_EQ(there.take<inference_output>().hidden, (std::vector<float>{8, 8}));
  EXPECT_EQ(agent.clients->sessions(), 0u);
}

TEST_F(front_end_test, leaves_the_agents_that_took_its_sessions) {
  fake_agent other(context, "two");
  pass_a_session_to(other);
  EXPECT_EQ(agent.clients->neighbours(), 1u);
  agent.clients->tick(std::chrono::steady_clock::now());
  EXPECT_EQ(agent.clients->neighbours(), 0u);
}

TEST_F(front_end_test, tries_the_next_target_when_one_does_not_take_sessions) {
  fake_agent closed(context, "closed"), open(context, "open");
  closed.clients->set_accepting(0, false);
  client.send(request());
  auto s = agent.added.take();
  std::promise<void> done;
  agent.clients->hand_over({s}, {closed.target(1), open.target(2)}, [&] { done.set_value(); });
  EXPECT_EQ(client.take<request_moved>().front_end, open.clients->address());
  done.get_future().wait();
}

TEST_F(front_end_test, tells_the_client_to_start_again_when_nobody_takes_its_session) {
  client.send(request());
  auto s = agent.added.take();
  std::promise<void> done;
  agent.clients->set_accepting(0, false);
  agent.clients->hand_over({s}, {}, [&] { done.set_value(); });
  EXPECT_EQ(client.take<request_refused>().failure.code, errc::unavailable);
  done.get_future().wait();
}

TEST_F(front_end_test, sends_new_requests_elsewhere_while_drained) {
  agent.clients->set_accepting(0, false);
  agent.clients->redirect_to({{seat_id{9}, "inproc://there"}});
  client.send(request());
  EXPECT_EQ(client.take<request_moved>().front_end, "inproc://there");
}

TEST_F(front_end_test, never_sends_a_request_to_itself) {
  agent.clients->redirect_to({agent.target(1), {seat_id{9}, "inproc://there"}});
  agent.clients->set_accepting(0, false);
  client.send(request());
  EXPECT_EQ(client.take<request_moved>().front_end, "inproc://there");
  agent.clients->redirect_to({agent.target(1)});
  client.send(request());
  EXPECT_EQ(client.take<request_refused>().failure.code, errc::unavailable);
}

TEST_F(front_end_test, gives_a_session_up_whose_client_never_comes) {
  fake_agent other(context, "two");
  pass_a_session_to(other);
  other.clients->tick(std::chrono::steady_clock::now() + 2 * front_end::unattached_for);
  EXPECT_EQ(other.cancelled.take(), "r1");
  EXPECT_EQ(other.clients->sessions(), 0u);
}

}  // namespace
}  // namespace ballast
