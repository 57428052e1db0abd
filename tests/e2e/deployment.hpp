// A whole deployment inside a test: a coordinator, agents of one rank each, and clients that check every answer.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/agent.hpp"
#include "cli/client/control_client.hpp"
#include "coordinator/service.hpp"
#include "tests/e2e/checked_traffic.hpp"
#include "tests/support/inbox.hpp"
#include "tests/support/tiny_model.hpp"

namespace ballast::test {

using namespace std::chrono_literals;

class deployment : public testing::Test {
 protected:
  void TearDown() override { control_.reset(); }  // before what on_event() belongs to goes

  coordinator_config config() {
    coordinator_config c;
    c.bind = gateway_;
    c.events = events_;
    c.num_redundant_experts = 4;
    c.step_interval = 0;
    c.window_size = 200;
    c.load_interval_steps = 4;
    c.heartbeat_ms = 25;
    c.heartbeat_timeout_ms = 2000;
    c.command_retry_ms = 200;
    c.operation_deadline_ms = 60'000;
    return c;
  }

  virtual void start_coordinator(coordinator_config c) {
    auto started = coordinator_service::start(context_, std::move(c));
    ASSERT_TRUE(started.has_value()) << started.error().text;
    coordinator_ = std::move(*started);
  }

  agent_config agent_settings(std::size_t number) {
    agent_config c;
    c.name = fmt::format("a{}", number);
    c.node = fmt::format("n{}", number / 2);
    c.coordinator = gateway_;
    c.front_end = fmt::format("inproc://front-{}-{}", name_, number);
    c.data = fmt::format("inproc://data-{}-{}", name_, number);
    c.backend = test_backend();
    c.first_gpu = static_cast<std::uint32_t>(number);
    c.models = models_;
    c.capacity.assign(models_.size(), {8, 4});
    return c;
  }

  void start_agents(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      auto started = agent::start(context_, agent_settings(agents_.size()));
      ASSERT_TRUE(started.has_value()) << started.error().text;
      agents_.push_back(std::move(*started));
    }
  }

  // Coordinator, agents, clients; waits until `ranks` serve.
  void start(std::uint32_t ranks, std::size_t agents, coordinator_config c) {
    c.initial_ranks = ranks;
    start_coordinator(std::move(c));
    start_agents(agents);
    start_clients();
    ASSERT_TRUE(await_active(ranks));
  }
  void start_clients() {
    auto control = control_client::connect(
        context_, {gateway_, events_, "operator"}, [this](const event& e) { on_event(e); });
    ASSERT_TRUE(control.has_value()) << control.error().text;
    control_ = std::move(*control);
    serving_options so;
    so.coordinator = gateway_;
    so.events = events_;
    traffic_ = std::make_unique<checked_traffic>(context_, so, models_);
  }
  virtual void on_event(const event&) {}  // on a link's thread
  bool await_active(std::size_t seats) { return traffic_->client().wait_active(seats, 60s).has_value(); }

  void start_traffic(std::size_t width, std::uint32_t steps = 12, const std::string& model = "tiny") {
    traffic_->start(width, steps, model);
  }
  void stop_traffic() { traffic_->stop(); }
  void expect_all_exact(std::size_t at_least = 1) { traffic_->expect_all_exact(at_least); }
  void await_answers(std::size_t more) { traffic_->await_answers(more); }
  // Beside traffic: until so many seats are known, serving or not.
  void await_joined(std::size_t seats) {
    for (int i = 0; i < 1000; ++i, await_answers(1)) {
      const auto status = control_->get_status();
      if (status && status->seats.size() >= seats) return;
    }
    ADD_FAILURE() << "fewer than " << seats << " seats";
  }

  operation_status finish(result<operation_id> id) {
    EXPECT_TRUE(id.has_value()) << (id ? "" : id.error().text);
    if (!id) return {};
    auto done = control_->wait(*id, 90s);
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().text);
    return done.value_or(operation_status{});
  }
  operation_status scale_to(std::uint32_t ranks) {
    scale_request r;
    r.ranks = ranks;
    return finish(control_->scale(r));
  }
  operation_status scale_seats(std::vector<std::uint32_t> seats) {
    scale_request r;
    for (const auto s : seats) r.seats.push_back(seat_id{s});
    return finish(control_->scale(r));
  }
  std::vector<std::uint32_t> active_seats() {
    std::vector<std::uint32_t> out;
    const auto status = control_->get_status();
    if (status)
      for (const auto& s : status->seats)
        if (s.state == "active") out.push_back(index_of(s.seat));
    return out;
  }

  std::size_t agent_of(std::uint32_t seat) {
    const auto status = control_->get_status();
    if (status)
      for (const auto& s : status->seats)
        if (index_of(s.seat) == seat) return std::stoul(s.agent.substr(1));
    return agents_.size();
  }

  link_context context_;
  std::string name_ = testing::UnitTest::GetInstance()->current_test_info()->name();
  std::string gateway_ = "inproc://gateway-" + name_, events_ = "inproc://events-" + name_;
  std::vector<model_spec> models_{tiny_spec()};
  std::unique_ptr<coordinator_service> coordinator_;
  std::vector<std::unique_ptr<agent>> agents_;
  std::unique_ptr<control_client> control_;

  std::unique_ptr<checked_traffic> traffic_;
};

}  // namespace ballast::test
