// Whole deployments in one process: the same actors, links and machines as across processes. Every answer that a client
// got, before, during and after every operation, is compared with one static rank.
#include <zmq.hpp>

#include "tests/e2e/deployment.hpp"

namespace ballast {
namespace {

using testing::Test;
using namespace std::chrono_literals;

struct serving : test::deployment {};

TEST_F(serving, one_rank_answers_exactly) {
  start(1, 1, config());
  start_traffic(4);
  await_answers(12);
  stop_traffic();
  expect_all_exact(12);
}

TEST_F(serving, a_rebalance_moves_experts_while_requests_flow) {
  start(3, 3, config());
  start_traffic(6);
  await_answers(30);
  rebalance_request r;
  r.force = true;
  const auto done = finish(control_->rebalance(r));
  EXPECT_EQ(done.outcome, "done") << done.reason;
  await_answers(10);
  stop_traffic();
  expect_all_exact(40);
}

TEST_F(serving, shares_follow_the_loads_and_answers_stay_the_same) {
  auto c = config();
  c.shares_interval_ms = 20;
  c.shares_gain = 0;
  c.step_interval = 40;
  c.imbalance_trigger = 1;
  start(3, 3, c);
  start_traffic(6);
  std::uint64_t updates = 0;
  for (int i = 0; i < 40 && updates < 5; ++i) {
    await_answers(10);
    const auto seen = control_->get_status();
    ASSERT_TRUE(seen) << seen.error().text;
    updates = seen->models[0].share_updates;
    EXPECT_GE(seen->models[0].imbalance_observed, updates == 0 ? 0 : 1);
  }
  EXPECT_GE(updates, 5u);
  const auto done = scale_to(2);  // in the midst of it
  EXPECT_EQ(done.outcome, "done") << done.reason;
  await_answers(10);
  stop_traffic();
  expect_all_exact(40);
}

TEST_F(serving, synchronous_mode_gives_the_same_answers) {
  auto c = config();
  c.use_async = false;
  start(2, 2, c);
  start_traffic(4);
  await_answers(20);
  rebalance_request r;
  r.force = true;
  const auto done = finish(control_->rebalance(r));
  EXPECT_EQ(done.outcome, "done") << done.reason;
  await_answers(10);
  stop_traffic();
  expect_all_exact(30);
}

TEST_F(serving, grows_from_one_rank_and_shrinks_by_a_middle_seat_under_load) {
  start(1, 4, config());
  start_traffic(6);
  await_answers(6);
  auto grown = scale_to(4);
  EXPECT_EQ(grown.outcome, "done") << grown.reason;
  EXPECT_EQ(active_seats().size(), 4u);
  await_answers(12);
  auto shrunk = scale_seats({0, 2, 3});
  EXPECT_EQ(shrunk.outcome, "done") << shrunk.reason;
  EXPECT_EQ(active_seats(), (std::vector<std::uint32_t>{0, 2, 3}));
  await_answers(12);
  auto back = scale_seats({1});
  EXPECT_EQ(back.outcome, "done") << back.reason;
  EXPECT_EQ(active_seats(), (std::vector<std::uint32_t>{1}));
  await_answers(6);
  stop_traffic();
  expect_all_exact(36);
}

TEST_F(serving, grows_from_two_ranks_to_eight_and_shrinks_to_three_of_them) {
  start(2, 8, config());
  start_traffic(8);
  await_answers(8);
  const auto grown = scale_to(8);
  EXPECT_EQ(grown.outcome, "done") << grown.reason;
  await_answers(8);
  const auto shrunk = scale_seats({0, 3, 7});
  EXPECT_EQ(shrunk.outcome, "done") << shrunk.reason;
  EXPECT_EQ(active_seats(), (std::vector<std::uint32_t>{0, 3, 7}));
  await_answers(8);
  stop_traffic();
  expect_all_exact(24);
}

TEST_F(serving, joins_first_and_balances_later_when_asked) {
  start(2, 3, config());
  start_traffic(4);
  await_answers(6);
  scale_request r;
  r.ranks = 3;
  r.join_first = true;
  const auto done = finish(control_->scale(r));
  EXPECT_EQ(done.outcome, "done") << done.reason;
  await_answers(6);
  stop_traffic();
  expect_all_exact(12);
}

TEST_F(serving, scales_while_nobody_asks_anything) {
  start(2, 3, config());
  EXPECT_EQ(scale_to(3).outcome, "done");
  EXPECT_EQ(scale_to(1).outcome, "done");
  start_traffic(2);
  await_answers(4);
  stop_traffic();
  expect_all_exact(4);
}

TEST_F(serving, a_lost_rank_costs_a_pause_and_is_replaced) {
  start(3, 4, config());
  start_traffic(6);
  await_answers(12);
  const auto lost = active_seats().at(1);  // agents join in any order: a seat says nothing of its agent's number
  agents_.at(agent_of(lost)).reset();
  auto others = std::vector<std::uint32_t>{0, 1, 2, 3};
  std::erase(others, lost);
  await_answers(20);
  while (active_seats() != others) await_answers(1);  // replaced from the idle seat; answers are the events
  await_answers(6);
  stop_traffic();
  expect_all_exact(38);
}

TEST_F(serving, two_models_are_balanced_on_their_own) {
  models_ = {test::tiny_spec("target", 7), test::tiny_spec("draft", 8)};
  models_[1].shape.layers = 1;
  auto still = config();
  still.shares_interval_ms = 0;  // or shares of the other model are solved anew meanwhile
  start(3, 3, still);
  start_traffic(3, 12, "target");
  start_traffic(3, 12, "draft");
  await_answers(30);
  const auto before = control_->get_status();
  ASSERT_TRUE(before.has_value());
  ASSERT_EQ(before->models.size(), 2u);
  rebalance_request r;
  r.model = "draft";
  r.force = true;
  const auto done = finish(control_->rebalance(r));
  EXPECT_EQ(done.outcome, "done") << done.reason;
  EXPECT_EQ(done.model, "draft");
  const auto after = control_->get_status();
  EXPECT_EQ(after->models[0].version, before->models[0].version) << "the target's placement was left alone";
  EXPECT_EQ(scale_to(2).outcome, "done");
  await_answers(10);
  stop_traffic();
  expect_all_exact(40);
}

TEST_F(serving, refuses_what_cannot_be_and_goes_on) {
  auto c = config();
  c.num_redundant_experts = 0;
  start(3, 3, c);
  start_traffic(3);
  scale_request none;
  EXPECT_FALSE(control_->scale(none).has_value());
  scale_request unknown;
  unknown.seats = {seat_id{0}, seat_id{77}};
  const auto refused_seat = control_->scale(unknown);
  ASSERT_FALSE(refused_seat.has_value());
  EXPECT_NE(refused_seat.error().text.find("77"), std::string::npos) << refused_seat.error().text;
  scale_request many;
  many.ranks = 9;
  EXPECT_FALSE(control_->scale(many).has_value());
  rebalance_request nobody;
  nobody.model = "nobody";
  EXPECT_FALSE(control_->rebalance(nobody).has_value());
  EXPECT_FALSE(control_->abort(4711).has_value());
  await_answers(6);
  stop_traffic();
  expect_all_exact(6);
}

TEST_F(serving, an_agent_with_another_model_is_refused_and_told_why) {
  start(1, 1, config());
  models_ = {test::tiny_spec("tiny", 99)};
  start_agents(1);
  while (agents_[1]->verdict().has_value()) ASSERT_TRUE(control_->get_status().has_value());
  EXPECT_FALSE(agents_[1]->verdict().error().text.empty());
  EXPECT_EQ(active_seats(), (std::vector<std::uint32_t>{0}));
}

// Garbage, half frames and empty frames on the gateway and on a front end: refused or dropped, and the service goes on.
TEST_F(serving, garbage_on_every_socket_harms_nobody) {
  start(2, 2, config());
  start_traffic(3);
  auto& zmq_context = *static_cast<zmq::context_t*>(context_.native());
  for (const auto& address : {"inproc://gateway-" + name_, agents_[0]->front_end()}) {
    zmq::socket_t socket(zmq_context, ZMQ_DEALER);
    socket.set(zmq::sockopt::linger, 0);
    socket.connect(address);
    std::mt19937 random(1);
    for (int i = 0; i < 200; ++i) {
      std::string frame(random() % 64, '\0');
      for (auto& c : frame) c = static_cast<char>(random());
      socket.send(zmq::buffer(frame), i % 3 ? zmq::send_flags::none : zmq::send_flags::sndmore);
    }
    socket.send(zmq::buffer(std::string("end")), zmq::send_flags::none);
    zmq::message_t answer;
    EXPECT_TRUE(socket.recv(answer).has_value()) << "told that it was not understood";
  }
  await_answers(10);
  EXPECT_EQ(scale_to(1).outcome, "done");
  stop_traffic();
  expect_all_exact(10);
}

}  // namespace
}  // namespace ballast
