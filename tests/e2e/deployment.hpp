// A whole deployment inside a test: a coordinator, agents of one rank each, and clients that check every answer.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/agent.hpp"
#include "cli/client/control_client.hpp"
#include "cli/client/serving_client.hpp"
#include "coordinator/service.hpp"
#include "tests/support/inbox.hpp"
#include "tests/support/tiny_model.hpp"

namespace ballast::test {

using namespace std::chrono_literals;

class deployment : public testing::Test {
 protected:
  static constexpr std::uint32_t tokens = 2;

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
    auto client = serving_client::connect(
        context_, so, [this](request_record r) { on_done(std::move(r)); },
        [this](const std::string& id, std::uint32_t, const std::vector<float>& hidden) { keep(id, hidden); });
    ASSERT_TRUE(client.has_value()) << client.error().text;
    client_ = std::move(*client);
  }
  virtual void on_event(const event&) {}  // on a link's thread
  bool await_active(std::size_t seats) { return client_->wait_active(seats, 60s).has_value(); }

  // Closed-loop traffic: `width` requests at once, each followed by a new one, until stop_traffic().
  void start_traffic(std::size_t width, std::uint32_t steps = 12, const std::string& model = "tiny") {
    flowing_ = true;
    for (std::size_t i = 0; i < width; ++i) submit(model, steps);
  }
  void stop_traffic() {
    flowing_ = false;
    const auto idle = client_->wait_idle(60s);
    ASSERT_TRUE(idle.has_value()) << idle.error().text;
  }
  // Every answer so far equals, bit for bit, what one static rank computes; none failed.
  void expect_all_exact(std::size_t at_least = 1) {
    std::lock_guard lock(mutex_);
    EXPECT_EQ(client_->counters().failed, 0u);
    EXPECT_GE(answered_, at_least);
    std::map<std::pair<std::string, std::uint32_t>, std::vector<const inference_request*>> alike;  // by model and steps
    for (const auto& [id, sent] : sent_) alike[{sent.model, sent.steps}].push_back(&sent);
    for (const auto& [kind, requests] : alike)
      for (const auto& spec : models_)
        if (spec.name == kind.first) compare(spec, kind.second, requests);
  }
  // Waits until so many more requests were answered.
  void await_answers(std::size_t more) {
    std::unique_lock lock(mutex_);
    const auto goal = answered_ + more;
    ASSERT_TRUE(progress_.wait_for(lock, 60s, [&] { return answered_ >= goal; })) << answered_ << " of " << goal;
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

 private:
  // Many requests at once, as many as a batch of a rank takes: the bits of an answer do not depend on it.
  void compare(const model_spec& spec, std::uint32_t steps, const std::vector<const inference_request*>& requests) {
    constexpr std::size_t at_once = 256 / tokens;
    static_rank reference(spec);
    for (std::size_t first = 0; first < requests.size(); first += at_once) {
      const auto end = std::min(requests.size(), first + at_once);
      std::vector<float> rows;
      for (auto i = first; i < end; ++i) rows.insert(rows.end(), requests[i]->hidden.begin(), requests[i]->hidden.end());
      rows = reference.answer(rows, static_cast<std::uint32_t>(tokens * (end - first)), steps);
      const auto size = rows.size() / (end - first);
      for (auto i = first; i < end; ++i) {
        const auto from = rows.begin() + static_cast<std::ptrdiff_t>((i - first) * size);
        EXPECT_EQ(last_[requests[i]->id], std::vector<float>(from, from + static_cast<std::ptrdiff_t>(size)))
            << requests[i]->id;
      }
    }
  }
  void submit(const std::string& model, std::uint32_t steps) {
    inference_request r;
    {
      std::lock_guard lock(mutex_);
      const auto number = sent_.size();
      r = {fmt::format("{}-{}", model, number), model, tokens, steps, 0, random_hidden(tokens * 32, static_cast<unsigned>(number))};
      sent_[r.id] = r;
    }
    const auto submitted = client_->submit(r);
    EXPECT_TRUE(submitted.has_value()) << submitted.error().text;
  }
  void keep(const std::string& id, const std::vector<float>& hidden) {
    std::lock_guard lock(mutex_);
    last_[id] = hidden;
  }
  void on_done(request_record record) {
    inference_request again;
    {
      std::lock_guard lock(mutex_);
      ++answered_;
      again = sent_.at(record.request.id);
      progress_.notify_all();
    }
    if (flowing_) submit(again.model, again.steps);
  }

  std::mutex mutex_;
  std::condition_variable progress_;
  std::map<std::string, inference_request> sent_;
  std::map<std::string, std::vector<float>> last_;
  std::size_t answered_ = 0;
  std::atomic<bool> flowing_ = false;
  std::unique_ptr<serving_client> client_;  // last: its thread calls into all the above
};

}  // namespace ballast::test
