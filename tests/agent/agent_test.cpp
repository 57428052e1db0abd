// Real agents, links, devices and weights; the coordinator is a script, so that every command and its outcome is in view.
#include "agent/agent.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/agent/scripted_coordinator.hpp"
#include "tests/support/inbox.hpp"
#include "tests/support/tiny_model.hpp"

namespace ballast {
namespace {

using namespace test;

struct agents_test : testing::Test {
  link_context context;
  std::string prefix = testing::UnitTest::GetInstance()->current_test_info()->name();
  scripted_coordinator script{context, "inproc://coordinator-" + prefix};
  std::vector<std::unique_ptr<agent>> agents;
  inbox<message_body> answers;
  std::map<std::uint32_t, std::unique_ptr<link>> clients;
  static_rank reference{tiny_spec()};

  void start_one() {
    const auto number = agents.size();
    agent_config c;
    c.name = fmt::format("a{}", number);
    c.node = "n0";
    c.coordinator = "inproc://coordinator-" + prefix;
    c.front_end = fmt::format("inproc://front-{}-{}", prefix, number);
    c.data = fmt::format("inproc://data-{}-{}", prefix, number);
    c.capacity = {{8, 16}};
    c.models = {tiny_spec()};
    c.collective_timeout_ms = 20'000;
    auto started = agent::start(context, c);
    ASSERT_TRUE(started.has_value()) << started.error().text;
    agents.push_back(std::move(*started));
  }
  void start(std::uint32_t n) {
    for (std::uint32_t i = 0; i < n; ++i) {
      ASSERT_NO_FATAL_FAILURE(start_one());
      script.await_seats(agents.size());
    }
  }
  // From nothing to serving on the given seats.
  void serve_on(const std::vector<std::uint32_t>& seats) {
    const auto table = spread(seats, 1);
    script.round(seats, [](auto) { return command::prepare{}; });
    script.round(seats, [&](auto s) { return command::stage{items_of(table, s)}; });
    script.build_comm(1, seats);
    script.round(seats, [&](auto) { return command::resume{1, 1, {table}}; });
  }
  void send(std::uint32_t seat, message_body body) {
    auto& wire = clients[seat];
    if (!wire) {
      link_options o;
      o.address = script.seats.at(seat).greeting.front_end;
      o.name = "client";
      wire = *link::open(context, o, [this](const std::string&, envelope m) { answers.put(std::move(m.body)); });
    }
    ASSERT_TRUE(wire->send("", {1, "client", std::move(body)}));
  }
  inference_request request(const std::string& id, unsigned seed, std::uint32_t steps) {
    return {id, "tiny", 2, steps, 0, random_hidden(64, seed)};
  }
  // Sends on seat, reads to the last output, compares with one static rank.
  void expect_exact(std::uint32_t seat, const std::string& id, unsigned seed, std::uint32_t steps = 5) {
    const auto r = request(id, seed, steps);
    send(seat, r);
    for (std::uint32_t step = 0; step < steps; ++step) {
      const auto body = answers.take();
      const auto* out = std::get_if<inference_output>(&body);
      ASSERT_NE(out, nullptr) << message_name(body);
      ASSERT_EQ(out->step, step);
      if (step + 1 == steps) {
        EXPECT_EQ(out->hidden, reference.answer(r.hidden, 2, steps)) << "bit for bit";
      }
    }
  }
};

TEST_F(agents_test, one_rank_answers_like_the_static_reference) {
  start(1);
  serve_on({0});
  expect_exact(0, "r", 1);
}

TEST_F(agents_test, three_ranks_answer_like_one_and_count_their_loads) {
  start(3);
  serve_on({0, 1, 2});
  for (std::uint32_t seat = 0; seat < 3; ++seat) expect_exact(seat, fmt::format("r{}", seat), seat, 8);
  while (script.loads.size() < 3) script.read_one();
  double total = 0;
  for (const auto& l : script.loads) {
    EXPECT_EQ(l.last_step % 4, 0u);
    for (const auto& layer : l.tokens)
      for (const auto n : layer) total += n;
  }
  EXPECT_GT(total, 0);
}

TEST_F(agents_test, an_expert_moves_while_requests_flow_and_its_page_is_spare_again) {
  start(2);
  serve_on({0, 1});
  auto moved = spread({0, 1}, 2);
  moved.layers[0][0] = {{seat_id{1}, 7, 1.0}};
  const auto stage = script.send(1, command::stage{{{0, 0, 0, 7, {script.source(0)}}}});
  expect_exact(0, "during", 3);
  const auto staged = script.await(1, stage);
  EXPECT_TRUE(staged.ok) << staged.failure.text;
  EXPECT_GT(staged.bytes, 0u) << "pulled from the peer, not read from the source of weights";
  script.round({0, 1}, [&](auto) { return command::publish{moved}; });
  expect_exact(0, "after", 4);
  script.round({0}, [](auto) { return command::reclaim{{{0, 0, 0}}}; });
  expect_exact(1, "reclaimed", 5);
}

TEST_F(agents_test, scales_up_by_an_agreed_switch_and_down_with_sessions_handed_over) {
  start(3);
  serve_on({0, 1});
  const auto wide = spread({0, 1, 2}, 2);
  script.round({2}, [&](auto) { return command::prepare{{script.source(0)}}; });
  // Slots of experts that stay are those of the new table, too, on fresh entries: stage what each seat does not have there.
  auto shifted = wide;
  for (auto& layer : shifted.layers)
    for (auto& replicas : layer) replicas[0].slot += 8;
  script.round({0, 1, 2}, [&](auto s) { return command::stage{items_of(shifted, s, {script.source(0), script.source(1)})}; });
  script.build_comm(2, {0, 1, 2});
  std::map<std::uint32_t, std::uint64_t> armed;
  for (const auto s : {2u, 0u, 1u}) armed[s] = script.send(s, command::arm{2, true, {shifted}});
  for (const auto& [s, sequence] : armed) EXPECT_TRUE(script.await(s, sequence).switched);
  script.round({0, 1, 2}, [](auto) { return command::probation{2, 3}; });
  script.round({0, 1}, [](auto) { return command::close_comm{2}; });
  for (const auto s : {0u, 1u, 2u}) expect_exact(s, fmt::format("wide{}", s), s);

  send(1, request("long", 9, 4000));
  answers.take();  // it streams
  script.round({1}, [&](auto) { return command::drain{{{seat_id{2}, script.seats[2].greeting.front_end}}}; });
  std::uint32_t next = 1;
  std::vector<float> last;
  for (;;) {
    auto body = answers.take();
    if (auto* out = std::get_if<inference_output>(&body)) {
      next = out->step + 1;
      last = out->hidden;
      continue;
    }
    const auto* moved = std::get_if<request_moved>(&body);
    ASSERT_NE(moved, nullptr) << message_name(body);
    EXPECT_EQ(moved->front_end, script.seats[2].greeting.front_end);
    EXPECT_EQ(moved->next_step, next) << "nothing was lost or repeated on the way";
    break;
  }
  send(2, inference_request{"long", "tiny", 2, 4000, next, last});
  auto body = answers.take();
  ASSERT_TRUE(std::holds_alternative<inference_output>(body)) << message_name(body);
  EXPECT_EQ(std::get<inference_output>(body).step, next);
  EXPECT_EQ(std::get<inference_output>(body).hidden, reference.answer(request("long", 9, 1).hidden, 2, next + 1));
}

TEST_F(agents_test, halted_ranks_resume_on_a_new_communicator_without_losing_a_session) {
  start(3);
  serve_on({0, 1, 2});
  const auto r = request("r", 11, 3000);
  send(0, r);
  answers.take();
  agents[2].reset();  // gone for good; the survivors hang in their collectives until told
  const auto halted = script.round({0, 1}, [](auto) { return command::halt{}; });
  const auto table = spread({0, 1}, 2);
  script.round({0, 1}, [&](auto s) {
    std::vector<slot_ref> all;
    for (const auto& item : items_of(spread({0, 1, 2}, 1), s)) all.push_back({0, item.layer, item.slot});
    return command::reclaim{all};
  });
  script.round({0, 1}, [&](auto s) { return command::stage{items_of(table, s)}; });
  script.build_comm(2, {0, 1});
  const auto first = std::max(halted.at(0).step, halted.at(1).step) + 1;
  script.round({0, 1}, [&](auto) { return command::resume{2, first, {table}}; });
  for (std::uint32_t step = 1; step < 60; ++step) {
    const auto body = answers.take();
    const auto* out = std::get_if<inference_output>(&body);
    ASSERT_NE(out, nullptr) << message_name(body);
    ASSERT_EQ(out->step, step);
    if (step == 59) {
      EXPECT_EQ(out->hidden, reference.answer(r.hidden, 2, 60));
    }
  }
}

// The builder may not have come to the open yet when it is told to forget it. Sixteen halves may be open, no more.
TEST_F(agents_test, communicators_that_are_given_up_while_they_are_opened_are_forgotten) {
  start(1);
  serve_on({0});
  for (epoch_t epoch = 2; epoch < 66; ++epoch) {
    script.send(0, command::open_comm{epoch});
    const auto closed = script.await(0, script.send(0, command::close_comm{1}));
    EXPECT_TRUE(closed.ok) << closed.failure.text;
  }
  const auto opened = script.await(0, script.send(0, command::open_comm{66}));
  EXPECT_TRUE(opened.ok) << opened.failure.text;
  expect_exact(0, "after", 1);
}

TEST_F(agents_test, a_switch_is_taken_back_in_probation) {
  start(2);
  serve_on({0, 1});
  script.build_comm(2, {0});
  auto alone = spread({0}, 2);
  for (auto& layer : alone.layers)
    for (auto& replicas : layer) replicas[0].slot += 8;
  script.round({0}, [&](auto s) { return command::stage{items_of(alone, s)}; });
  const auto stays = script.send(0, command::arm{2, true, {alone}});
  const auto leaves = script.send(1, command::arm{2, false, {}});
  EXPECT_TRUE(script.await(0, stays).switched);
  EXPECT_TRUE(script.await(1, leaves).switched);
  expect_exact(0, "alone", 1);
  const auto step = script.round({0, 1}, [](auto) { return command::disarm{2}; }).at(0).step;
  script.round({0, 1}, [&](auto) { return command::revert{2, step + 1000, {spread({0, 1}, 3)}}; });
  expect_exact(1, "back", 2);
}

TEST_F(agents_test, a_held_cluster_stops_and_goes_on) {
  start(2);
  serve_on({0, 1});
  script.round({0, 1}, [](auto) { return command::hold{}; });
  send(0, request("r", 1, 2));
  script.round({0, 1}, [](auto) { return command::publish{spread({0, 1}, 2)}; });
  script.round({0, 1}, [](auto) { return command::unhold{}; });
  answers.take();
  answers.take();
}

TEST_F(agents_test, a_fenced_agent_forgets_everything_and_joins_again) {
  start(1);
  serve_on({0});
  (void)script.wire->send(script.seats[0].peer, {0, "script", fence{seat_id{0}, 1}});
  (void)script.hello_of_other_than(script.seats[0].greeting.process);
  (void)script.wire->send(script.seats[0].peer, {0, "script", welcome{{{0, seat_id{0}, 2}}, 20, 4}});
  script.seats[0].incarnation = 2;
  script.outcomes.clear();
  script.seats[0].sequence = 100;
  serve_on({0});
  expect_exact(0, "again", 1);
}

// Another hello under its name was taken for newer than its own.
TEST_F(agents_test, an_agent_without_seats_whose_process_is_fenced_comes_as_another) {
  ASSERT_NO_FATAL_FAILURE(start_one());
  const auto [first_peer, first] = script.hello_of_other_than(0);
  (void)script.wire->send(first_peer, {0, "script", fence{seat_id{0}, 5, first.process}});
  const auto [peer, again] = script.hello_of_other_than(first.process);
  script.admit(peer, again);
  serve_on({0});
  expect_exact(0, "joined", 1);
}

// Coordinators lead in turn; what an earlier one still says is refused, whatever it is.
TEST_F(agents_test, a_coordinator_of_a_lower_term_is_not_obeyed) {
  start(1);
  serve_on({0});
  auto& seat = script.seats[0];
  const auto hold = [&](std::uint64_t sequence, std::uint64_t term) {
    const seat_command c{seat_id{0}, seat.incarnation, sequence, 1, command::hold{}};
    EXPECT_TRUE(script.wire->send(seat.peer, {0, "script", c, term}));
  };
  hold(++seat.sequence, 7);
  EXPECT_TRUE(script.await(0, seat.sequence).ok);
  const auto refused = ++seat.sequence;
  hold(refused, 6);
  (void)script.wire->send(seat.peer, {0, "script", fence{seat_id{0}, 1}, 6});
  (void)script.wire->send(seat.peer, {0, "script", fence{seat_id{0}, 1}});
  hold(++seat.sequence, 7);
  EXPECT_TRUE(script.await(0, seat.sequence).ok) << "it was neither fenced nor is it deaf";
  EXPECT_FALSE(script.outcomes.contains({0, refused}));
}

TEST_F(agents_test, commands_that_are_sent_again_are_not_obeyed_again_and_counted) {
  start(1);
  serve_on({0});
  const auto publish = [&](std::uint64_t sequence, incarnation_t incarnation) {
    seat_command c{seat_id{0}, incarnation, sequence, 0, command::publish{spread({0}, 2)}};
    (void)script.wire->send(script.seats[0].peer, {0, "script", std::move(c)});
  };
  const auto done = script.round({0}, [](auto) { return command::publish{spread({0}, 2)}; }).at(0);
  publish(done.sequence, 1);
  publish(done.sequence + 1, 7);
  for (std::uint64_t counted = 0; counted < 2;) {
    const auto [peer, message] = script.received.take();
    if (const auto* outcome = std::get_if<seat_outcome>(&message.body)) {
      EXPECT_TRUE(*outcome == done || outcome->failure.code == errc::fenced);
    }
    if (const auto* beat = std::get_if<heartbeat>(&message.body)) counted = beat->refused.replayed;
  }
  expect_exact(0, "after", 1);
}

TEST_F(agents_test, bad_models_and_addresses_are_refused_at_start_in_one_line) {
  agent_config c;
  c.name = "bad";
  c.coordinator = "inproc://nobody";
  c.front_end = "inproc://bad-front";
  c.data = "inproc://bad-data";
  c.capacity = {{8, 0}};
  c.models = {tiny_spec()};
  const auto refuse = [&](const agent_config& config) {
    const auto started = agent::start(context, config);
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(started.error().text.find('\n'), std::string::npos) << started.error().text;
    EXPECT_GT(started.error().text.size(), 15u);
  };
  refuse(c);  // no spare page
  c.capacity = {{8, 1}};
  c.models[0].checkpoint = "/does/not/exist";
  refuse(c);
  c.models = {tiny_spec()};
  c.backend = "abacus";
  refuse(c);
  c.backend = "host";
  c.front_end = "carrier-pigeon://coop";
  refuse(c);
}

}  // namespace
}  // namespace ballast
