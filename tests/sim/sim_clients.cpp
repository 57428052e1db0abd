// Clients of the simulated cluster: requests of several steps, every answer of which is known beforehand.
#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {
namespace {

constexpr std::uint64_t patience_us = 400 * ms;  // then the request is sent again, where it stands

std::vector<float> answer_to(const model_description& m, std::vector<float> hidden) {
  for (auto& value : hidden) {
    auto token = static_cast<std::uint32_t>(value);
    for (std::uint32_t l = 0; l < m.layers; ++l) token = through_expert(token, l, expert_of(token, l, m.experts));
    value = static_cast<float>(token);
  }
  return hidden;
}

}  // namespace

void world::open_request(dice roll) {
  client c;
  const auto index = clients_.size();
  c.id = fmt::format("{}", index);
  c.model = static_cast<model_index>(roll.between(0, models_.size() - 1));
  c.steps = static_cast<std::uint32_t>(roll.between(1, 24));
  std::vector<float> input(roll.between(1, 3));
  for (auto& value : input) value = static_cast<float>(roll.between(0, 65520));
  c.states.push_back(input);
  for (std::uint32_t s = 0; s < c.steps; ++s) c.states.push_back(answer_to(models_[c.model], c.states.back()));
  c.roll = roll;
  clients_.push_back(std::move(c));
  watch_request(index);
}

// Sends it, and again somewhere else as long as nothing comes.
void world::watch_request(std::size_t index) {
  auto& c = clients_[index];
  if (c.next == c.steps) return;
  if (c.heard_us == 0 || sim_.now() - c.heard_us >= patience_us)
    send_request(c, static_cast<std::uint32_t>(c.roll.between(0, agents_.size() - 1)));
  sim_.after(patience_us, [this, index] { watch_request(index); });
}

void world::send_request(client& c, std::uint32_t to) {
  c.heard_us = sim_.now();
  sim_.trace([&] { return fmt::format("request {} goes to agent{}, from step {} on", c.id, to, c.next); });
  if (sim_.roll.chance(weather_.loss)) return;
  inference_request r{c.id,   models_[c.model].name, static_cast<std::uint32_t>(c.states.front().size()), c.steps,
                      c.next, c.states[c.next]};
  sim_.after(delay_us(), [this, to, life = agents_[to].life, r = std::move(r)] {
    if (agents_[to].alive && agents_[to].life == life) agents_[to].clients->on_request(r);
  });
}

void world::to_client(const std::string& id, message_body body) {
  if (sim_.roll.chance(weather_.loss)) return;
  const auto index = static_cast<std::size_t>(std::stoul(id));
  const int copies = sim_.roll.chance(weather_.repeat) ? 2 : 1;
  for (int i = 0; i < copies; ++i) sim_.after(delay_us(), [this, index, body] { client_takes(clients_[index], body); });
}

void world::client_takes(client& c, const message_body& body) {
  sim_.trace([&] { return fmt::format("request {} at {} of {}: {}", c.id, c.next, c.steps, message_name(body)); });
  if (const auto* o = std::get_if<inference_output>(&body)) {
    if (o->step >= c.steps || o->hidden != c.states[o->step + 1] || o->last != (o->step + 1 == c.steps))
      throw broken(fmt::format("I4: step {} of request {} was answered wrongly", o->step, c.id));
    ++answers_;
    if (o->step != c.next) return;  // known already, or one is missing
    ++c.next;
    c.heard_us = sim_.now();
  } else if (const auto* m = std::get_if<request_moved>(&body)) {
    if (c.next < c.steps) send_request(c, static_cast<std::uint32_t>(std::stoul(m->front_end)));
  }
}

void world::open_front(agent& a) {
  front::ports p;
  p.ranks = [&a] {
    std::vector<rank*> out;
    for (const auto& r : a.ranks) out.push_back(r.get());
    return out;
  };
  p.to_client = [this](const std::string& id, message_body body) { to_client(id, std::move(body)); };
  p.to_front = [this, from = a.index](std::uint32_t to, message_body body) {
    if (fabric_.cut(from, to) || sim_.roll.chance(weather_.loss)) return;
    sim_.after(delay_us(), [this, from, to, life = agents_[to].life, body = std::move(body)] {
      auto& other = agents_[to];
      if (!other.alive || other.life != life) return;
      if (const auto* offer = std::get_if<session_handover>(&body)) other.clients->on_handover(from, *offer);
      if (const auto* taken = std::get_if<handover_taken>(&body)) other.clients->on_taken(*taken);
    });
  };
  p.watch = [this, index = a.index, life = a.life](std::uint64_t handover) {
    sim_.after(2 * second, [this, index, life, handover] {
      if (agents_[index].alive && agents_[index].life == life) agents_[index].clients->late(handover);
    });
  };
  a.clients = std::make_unique<front>(a.index, models_, std::move(p));
}

// A rank lets go of its sessions, at a boundary.
void world::sessions_leave(rank& r, std::uint64_t drain, std::vector<session> sessions,
                           std::vector<session_target> targets) {
  auto& a = agents_[r.agent];
  const bool was_serving = drain == 0 && r.loop().epoch() != 0;
  if (was_serving || !targets.empty()) a.clients->redirect_to(targets);
  a.clients->hand_over(std::move(sessions), targets, [this, drain, who = std::pair(r.id(), r.incarnation())] {
    const auto at = fabric_.seated.find(who);
    if (drain != 0 && at != fabric_.seated.end()) at->second->feed(rank_event::drained{drain});
  });
}

}  // namespace ballast::sim
