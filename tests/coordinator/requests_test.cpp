// Requests, refusals, identities and garbage.
#include <random>

#include "tests/coordinator/bench.hpp"

namespace ballast::cluster::test {
namespace {

TEST(Requests, SameRequestGetsTheSameOperation) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4, "once"));
  EXPECT_EQ(b.accepted_id(scale_to(4, "once")), id);
  b.answer_all();
  EXPECT_EQ(b.accepted_id(scale_to(4, "once")), id);
  EXPECT_FALSE(b.state.running);
}

TEST(Requests, ThatAreSentAgainAreCountedAndToldOfOnceASecond) {
  auto b = serving();
  b.state.config.heartbeat_timeout_ms = 60'000;
  const scale_request asked{"again", 2, {}, false, 0};
  b.accepted_id(asked);
  b.answer_all();
  const auto before = status_of(b.state).refused.at(0).replayed;
  const auto lines = [&] {
    int told = 0;
    for (int i = 0; i < 10; ++i)
      for (const auto& e : step(b.state, input::message{"op", {1, "op", asked}}))
        told += std::holds_alternative<effect::log_line>(e) ? 1 : 0;
    return told;
  };
  EXPECT_EQ(lines(), 1);
  EXPECT_EQ(lines(), 0);
  step(b.state, input::tick{b.state.now_ms + 1000});
  EXPECT_EQ(lines(), 1);
  EXPECT_EQ(status_of(b.state).refused.at(0).replayed, before + 30);
}

TEST(Requests, NewerScaleTakesThePlaceOfAWaitingOne) {
  auto b = serving();
  b.accepted_id(scale_to(4));
  const auto second = b.accepted_id(scale_to(2));
  const auto third = b.accepted_id(scale_to(3));
  EXPECT_EQ(b.ended(second).outcome, "aborted");
  EXPECT_NE(b.ended(second).reason.find("superseded"), std::string::npos);
  b.answer_all();
  EXPECT_EQ(b.ended(third).outcome, "done");
  EXPECT_EQ(b.members().size(), 3u);
}

TEST(Requests, ImpossibleOnesAreRefusedWithTheNumbers) {
  auto b = serving();
  EXPECT_EQ(b.refusal(scale_to(1)),
            "scale to 1 does not fit: 8 experts a layer need 8 slots, 1 seats hold 4; use more seats");
  EXPECT_NE(b.refusal(scale_to(9)).find("only 4 seats have joined"), std::string::npos);
  EXPECT_EQ(b.refusal(scale_seats({0, 7})), "there is no seat 7; seats are 0, 1, 2, 3");
  EXPECT_EQ(b.refusal(scale_seats({0, 0})), "a seat is named twice");
  EXPECT_NE(b.refusal(scale_request{}).find("scale to 0"), std::string::npos);
  rebalance_request r;
  r.model = "draft";
  EXPECT_EQ(b.refusal(r), "there is no model `draft`; models are target");
  EXPECT_EQ(b.refusal(abort_request{99}), "there is no operation 99");
  EXPECT_FALSE(b.state.running);
}

TEST(Requests, AreAnsweredWhileNothingIsServed) {
  bench b;
  EXPECT_NE(b.refusal(forced_rebalance()), "");
  EXPECT_NE(b.refusal(scale_to(1)), "");
  const auto s = b.ask(get_status{});
  ASSERT_TRUE(s && std::holds_alternative<cluster_status>(*s));
  EXPECT_TRUE(std::get<cluster_status>(*s).seats.empty());
}

TEST(Status, SaysWhatIsAwaited) {
  auto b = serving();
  const auto id = b.accepted_id(scale_to(4));
  ASSERT_TRUE(b.run_to(phase::preparing));
  const auto s = std::get<cluster_status>(*b.ask(get_status{}));
  ASSERT_FALSE(s.operations.empty());
  EXPECT_EQ(s.operations.front().id, id);
  EXPECT_EQ(s.operations.front().phase, "preparing");
  EXPECT_EQ(s.operations.front().awaited, std::vector{seat_id{3}});
  EXPECT_EQ(s.seats[3].state, "joining");
  EXPECT_EQ(s.seats[0].state, "active");
  EXPECT_GT(s.seats[0].replicas, 0u);
  EXPECT_EQ(s.event_sequence, b.events.back().sequence);
}

TEST(Events, CountWithoutGaps) {
  auto b = serving();
  b.accepted_id(scale_to(4));
  b.answer_all();
  for (std::size_t i = 1; i < b.events.size(); ++i) EXPECT_EQ(b.events[i].sequence, b.events[i - 1].sequence + 1);
}

TEST(Identity, NewProcessIsANewIncarnationAndTheOldOneIsFenced) {
  auto b = serving();
  b.join(1);  // same name, another process
  EXPECT_EQ(b.state.seats[1].incarnation, 2u);
  EXPECT_EQ(b.state.seats[1].state, seat_state::idle);
  b.answer_all();
  EXPECT_EQ(b.members(), (std::vector<std::uint32_t>{0, 2}));
  b.sent.clear();
  seat_outcome late;
  late.seat = seat_id{1};
  late.incarnation = 1;
  late.sequence = 5;
  late.operation = 1;
  b.say(1, late);
  ASSERT_EQ(b.sent.size(), 1u);
  ASSERT_TRUE(std::holds_alternative<fence>(b.sent[0].second));
  EXPECT_EQ(std::get<fence>(b.sent[0].second).up_to, 1u);
}

// Both processes say hello once; that of the dead one is on its way for longer.
TEST(Identity, AProcessThatALateHelloReplacedIsToldSoByItsName) {
  auto b = serving();
  b.join(1);
  auto living = b.greeting(1);
  b.join(1);  // the late one
  b.sent.clear();
  b.say(1, living);
  ASSERT_EQ(b.sent.size(), 1u);
  ASSERT_TRUE(std::holds_alternative<fence>(b.sent[0].second));
  EXPECT_EQ(std::get<fence>(b.sent[0].second).process, living.process);
  living.process += 1000;
  b.say(1, living);
  EXPECT_TRUE(std::holds_alternative<welcome>(b.sent.back().second));
  EXPECT_EQ(b.state.seats[1].incarnation, 4u);
}

TEST(Identity, RepeatedHelloGetsTheSameWelcome) {
  bench b;
  b.join(0);
  const auto first = b.sent.back().second;
  const auto peer = b.sent.back().first;
  hello again;
  for (const auto& [name, agent] : b.state.agents) {
    again.node = agent.node;
    again.agent = name;
    again.process = agent.process;
    again.front_end = agent.front_end;
  }
  again.models = {b.state.models[0].description};
  again.ranks = {b.state.seats[0].offer};
  b.say(0, again);
  EXPECT_EQ(b.sent.back().second, first);
  EXPECT_EQ(b.state.seats[0].incarnation, 1u);
}

TEST(Identity, AnotherModelIsRefused) {
  auto b = serving();
  hello h{"n", "stranger", 1, "", {{"target", "other", 2, 8, 1, 10}}, {}};
  rank_offer o;
  o.capacity.models.push_back({4, 2});
  o.capacity.max_batch_tokens = 8;
  h.ranks.push_back(o);
  b.say(9, h);
  ASSERT_TRUE(std::holds_alternative<refused>(b.sent.back().second));
  EXPECT_EQ(std::get<refused>(b.sent.back().second).failure.code, errc::conflict);
  h.models[0].fingerprint = "f";
  h.ranks[0].capacity.max_batch_tokens = 4;
  b.say(9, h);
  EXPECT_NE(std::get<refused>(b.sent.back().second)
                .failure.text.find("takes 4 tokens into a step, the deployment agreed on 8"),
            std::string::npos);
}

TEST(Garbage, NothingThatArrivesIsFatal) {
  auto b = serving();
  std::mt19937_64 roll(1);
  const auto any = [&](std::uint64_t most) { return roll() % (most + 1); };
  const auto any_outcome = [&](seat_id seat) {
    seat_outcome o;
    o.seat = seat;
    o.incarnation = any(3);
    o.sequence = any(40);
    o.operation = any(9);
    o.ok = any(1) == 0;
    o.step = any(1000);
    o.epoch = any(9);
    o.switched = any(1) == 0;
    o.bytes = any(9);
    return o;
  };
  for (int i = 0; i < 20'000; ++i) {
    const auto seat = static_cast<seat_id>(any(6));
    message_body body;
    switch (any(9)) {
      case 0:
        body = any_outcome(seat);
        break;
      case 1:
        body = seat_trouble{seat, any(3), any(9), {}};
        break;
      case 2:
        body = load_summary{seat,    any(2),  static_cast<model_index>(any(5)),
                            any(99), any(99), load_matrix(any(3), std::vector<double>(any(9), -1.0))};
        break;
      case 3:
        body = heartbeat{"agent" + std::to_string(any(5)), any(9), {{seat, any(3), any(99), any(3), 0, 0, 0, {}}}};
        break;
      case 4:
        body = hello{"n", any(1) == 0 ? "" : "agent1", any(3), "", {}, {}};
        break;
      case 5:
        body = abort_request{any(30)};
        break;
      case 6:
        body = scale_request{"", static_cast<std::uint32_t>(any(7)),
                             any(3) == 0 ? std::vector{seat} : std::vector<seat_id>{}, false, 0};
        break;
      case 7:
        body = welcome{};
        break;
      case 8:
        body = inference_output{};
        break;
      default:
        body = rebalance_request{"", any(1) == 0 ? "" : "?", any(1) == 0, true};
        break;
    }
    b.say(static_cast<std::uint32_t>(any(5)), body);
    if (i % 100 == 0) b.pass(50);
    if (i % 7 == 0) b.answer(seat, any(4) != 0);
  }
  EXPECT_TRUE(std::holds_alternative<cluster_status>(*b.ask(get_status{})));
}

}  // namespace
}  // namespace ballast::cluster::test
