#include "tests/cli/fakes.hpp"

#include <gtest/gtest.h>

namespace ballast::fakes {
namespace {

std::unique_ptr<link> bound(link_context& context, link_kind kind, const std::string& address, link::handler handler) {
  link_options options;
  options.kind = kind;
  options.address = address;
  options.bind = true;
  options.name = "fake";
  auto made = link::open(context, options, std::move(handler));
  if (!made) ADD_FAILURE() << address << ": " << made.error().text;
  return made ? std::move(*made) : nullptr;
}

}  // namespace

std::vector<float> next_hidden(std::vector<float> hidden) {
  for (auto& value : hidden) value = value * 0.5f + 1.0f;
  return hidden;
}

fake_coordinator::fake_coordinator(link_context& context, const std::string& control, const std::string& events,
                                   responder answer)
    : answer_(std::move(answer)) {
  events_ = bound(context, link_kind::publisher, events, [](const std::string&, const envelope&) {});
  control_ =
      bound(context, link_kind::router, control, [this](const std::string& peer, const envelope& m) { on(peer, m); });
}

void fake_coordinator::set_seat(std::uint32_t seat, const std::string& state, const std::string& front_end, bool tell) {
  event news;
  {
    const std::lock_guard lock(mutex_);
    auto& s = seats_[seat_id{seat}];
    s.seat = seat_id{seat};
    s.state = state;
    s.front_end = front_end;
    news.kind = "seat";
    news.seats = {s};
    if (!tell) ++sequence_;
  }
  if (tell) publish(std::move(news));
}

void fake_coordinator::publish(event news) {
  {
    const std::lock_guard lock(mutex_);
    news.sequence = ++sequence_;
  }
  EXPECT_TRUE(events_->send("", {0, "fake", std::move(news)}).has_value());
}

std::uint64_t fake_coordinator::received(const std::string& type) const {
  const std::lock_guard lock(mutex_);
  const auto at = received_.find(type);
  return at == received_.end() ? 0 : at->second;
}

cluster_status fake_coordinator::status_locked() const {
  cluster_status all;
  all.event_sequence = sequence_;
  for (const auto& [id, seat] : seats_) all.seats.push_back(seat);
  return all;
}

void fake_coordinator::on(const std::string& peer, const envelope& message) {
  std::vector<message_body> answers;
  {
    const std::lock_guard lock(mutex_);
    ++received_[message_name(message.body)];
    if (std::holds_alternative<get_status>(message.body)) answers.emplace_back(status_locked());
  }
  if (answer_) {
    if (auto own = answer_(message.body); !own.empty()) answers = std::move(own);
  }
  // A client may have gone since it asked, or the test be over: who still waits will miss what was not sent.
  for (auto& one : answers) (void)control_->send(peer, {message.id, "fake", std::move(one)});
}

fake_agent::fake_agent(link_context& context, const std::string& address, agent_plan plan) : plan_(std::move(plan)) {
  link_ =
      bound(context, link_kind::router, address, [this](const std::string& peer, const envelope& m) { on(peer, m); });
}

void fake_agent::on(const std::string& peer, const envelope& message) {
  const auto* request = std::get_if<inference_request>(&message.body);
  if (request == nullptr) return;
  ++requests_;
  last_first_step_ = request->first_step;
  if (plan_.ignore > 0) {
    --plan_.ignore;
  } else if (plan_.refusals > 0) {
    --plan_.refusals;
    (void)link_->send(peer, {0, "fake", request_refused{request->id, plan_.refusal}});
  } else {
    run(peer, *request);
  }
}

void fake_agent::run(const std::string& peer, inference_request request) {
  for (auto step = request.first_step; step < request.steps; ++step) {
    if (step - request.first_step >= plan_.outputs) {
      if (!plan_.moved_to.empty())
        (void)link_->send(peer, {0, "fake", request_moved{request.id, plan_.moved_to, step}});
      return;
    }
    request.hidden = next_hidden(std::move(request.hidden));
    inference_output output{request.id, step, step + 1 == request.steps, request.hidden};
    (void)link_->send(peer, {0, "fake", output});
    if (plan_.wrong_twin) output.hidden[0] += 1.0f;
    if (plan_.twice || plan_.wrong_twin) (void)link_->send(peer, {0, "fake", output});
  }
}

}  // namespace ballast::fakes
