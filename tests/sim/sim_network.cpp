#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {
namespace {

std::string describe(const message_body& body) {
  std::string out = message_name(body);
  if (const auto* c = std::get_if<seat_command>(&body))
    out += fmt::format(" {} #{} to seat {}.{} (operation {})", command_name(c->body), c->sequence, index_of(c->seat),
                       c->incarnation, c->operation);
  if (const auto* c = std::get_if<seat_command>(&body)) {
    if (const auto* s = std::get_if<command::stage>(&c->body))
      for (const auto& i : s->items) out += fmt::format(" m{}l{}s{}=e{}", i.model, i.layer, i.slot, i.expert);
    if (const auto* s = std::get_if<command::reclaim>(&c->body))
      for (const auto& i : s->slots) out += fmt::format(" m{}l{}s{}", i.model, i.layer, i.slot);
    if (const auto* s = std::get_if<command::publish>(&c->body))
      out += fmt::format(" m{} v{}", s->table.model, s->table.version);
  }
  if (const auto* o = std::get_if<seat_outcome>(&body))
    out += fmt::format(" #{} of seat {}.{}: {}{}", o->sequence, index_of(o->seat), o->incarnation,
                       o->ok ? "ok" : o->failure.text, o->switched ? ", switched" : "");
  if (const auto* t = std::get_if<seat_trouble>(&body))
    out += fmt::format(" of seat {}.{} on epoch {}: {}", index_of(t->seat), t->incarnation, t->epoch, t->failure.text);
  if (const auto* f = std::get_if<fence>(&body)) out += fmt::format(" seat {} up to {}", index_of(f->seat), f->up_to);
  if (const auto* r = std::get_if<refused>(&body)) out += ": " + r->failure.text;
  return out;
}

bool worth_a_line(const message_body& body) {
  return !std::holds_alternative<heartbeat>(body) && !std::holds_alternative<load_summary>(body);
}

}  // namespace

std::uint64_t world::delay_us() {
  if (sim_.roll.chance(slow_message_)) return sim_.roll.between(100 * ms, 900 * ms);
  return sim_.roll.between(200, delay_most_us_);
}

void world::fresh_ranks(agent& a) {
  a.ranks.clear();
  a.seats.clear();
  std::vector<std::uint32_t> layers;
  for (const auto& m : models_) layers.push_back(m.layers);
  for (const auto& o : a.greeting.ranks) {
    a.ranks.push_back(std::make_unique<rank>(fabric_, o.capacity, layers));
    a.ranks.back()->agent = a.index;
  }
}

void world::start_agent(agent& a) {
  if (a.alive) return;
  a.alive = true;
  ++a.life;
  a.greeting.process = sim_.roll.next();
  fresh_ranks(a);
  sim_.trace([&] { return fmt::format("agent{} starts", a.index); });
  agent_tick(a.index, a.life);
}

void world::stop_agent(agent& a, bool comes_back) {
  if (!a.alive) return;
  sim_.trace([&] {
    std::string seats;
    for (const auto& [local, s] : a.seats) seats += fmt::format(" {}.{}", index_of(s.seat), s.incarnation);
    return fmt::format("agent{} dies with seats{}", a.index, seats);
  });
  ++losses_;
  a.alive = false;
  for (auto& r : a.ranks) {
    if (!r->is_seated()) continue;
    for (auto& [epoch, comm] : fabric_.comms) {
      const bool member = std::ranges::any_of(
          comm.members, [&](const comm_member& m) { return m.seat == r->id() && m.incarnation == r->incarnation(); });
      if (!member) continue;
      comm.broken = true;
      comm.present.erase(r->id());
      for (const auto& m : comm.members)
        sim_.after(sim_.roll.between(1 * ms, 300 * ms), [this, m, at = epoch] {
          if (auto* peer = fabric_.find(m)) peer->break_off(at, errc::unavailable, "a peer is gone");
        });
    }
  }
  a.ranks.clear();
  a.seats.clear();
  if (comes_back) sim_.after(sim_.roll.between(10 * ms, 3000 * ms), [this, &a] { start_agent(a); });
}

void world::agent_tick(std::uint32_t index, std::uint64_t life) {
  auto& a = agents_[index];
  if (!a.alive || a.life != life) return;
  if (a.seats.empty()) {
    to_coordinator(a, a.greeting);
  } else {
    heartbeat h{a.greeting.agent, a.greeting.process, {}};
    for (const auto& [local, s] : a.seats) {
      const auto& loop = a.ranks[local]->loop();
      a.ranks[local]->feed(rank_event::beat{});
      h.seats.push_back({s.seat, s.incarnation, loop.last_step(), loop.epoch(), 0, 0, 4, {}});
    }
    to_coordinator(a, std::move(h));
  }
  sim_.after(100 * ms, [this, index, life] { agent_tick(index, life); });
}

void world::to_coordinator(agent& from, message_body body) {
  if (sim_.now() < from.quiet_until_us) return;
  const agent_message m{from.index, from.life, std::move(body)};
  const int copies = sim_.roll.chance(repeat_) ? 2 : 1;
  for (int i = 0; i < copies; ++i)
    if (!sim_.roll.chance(loss_)) sim_.after(delay_us(), [this, m] { coordinator_takes(m); });
}

void world::coordinator_takes(const agent_message& m) {
  if (worth_a_line(m.body)) sim_.trace([&] { return fmt::format("agent{} -> {}", m.agent, describe(m.body)); });
  const auto peer = fmt::format("{}.{}", m.agent, m.life);
  take(ballast::cluster::input::message{peer, envelope{1, "agent", m.body}});
}

void world::take(const ballast::cluster::input_body& what) {
  auto out = ballast::cluster::step(*state_, what);
  if (const auto* m = std::get_if<ballast::cluster::input::message>(&what)) check_fenced(m->content.body, out);
  check_share_update();
  for (auto& e : out) perform(e);
}

void world::perform(ballast::cluster::effect_body& e) {
  using namespace ballast::cluster::effect;
  if (auto* s = std::get_if<send>(&e)) {
    const auto dot = s->peer.find('.');
    if (dot == std::string::npos) {
      sim_.trace([&] { return fmt::format("answer: {}", describe(s->body)); });
      return;
    }
    if (const auto* c = std::get_if<seat_command>(&s->body))
      if (const auto* table = std::get_if<command::publish>(&c->body)) check_version(table->table);
    const auto index = static_cast<std::uint32_t>(std::stoul(s->peer.substr(0, dot)));
    const auto life = std::stoull(s->peer.substr(dot + 1));
    sim_.trace([&] { return fmt::format("-> agent{}: {}", index, describe(s->body)); });
    const int copies = sim_.roll.chance(repeat_) ? 2 : 1;
    for (int i = 0; i < copies; ++i)
      if (!sim_.roll.chance(loss_))
        sim_.after(delay_us(), [this, index, life, body = s->body] { to_agent(index, life, body); });
  } else if (auto* p = std::get_if<request_plan>(&e)) {
    const bool fails = sim_.roll.chance(planner_failures_);
    sim_.after(sim_.roll.between(100, 20 * ms), [this, fails, asked = std::move(p->request)] {
      auto made = fails ? result<ballast::cluster::plan>(ballast::fail(errc::timed_out, "the planner is ill"))
                        : make_plan(asked);
      if (!made) sim_.trace([&] { return "no plan: " + made.error().text; });
      take(ballast::cluster::input::planned{asked.id, std::move(made)});
    });
  } else if (auto* l = std::get_if<log_line>(&e)) {
    sim_.trace([&] { return "coordinator: " + l->text; });
  } else if (auto* w = std::get_if<publish>(&e)) {
    sim_.trace([&] { return "event: " + w->what.text; });
  }
}

void world::to_agent(std::uint32_t index, std::uint64_t life, const message_body& body) {
  auto& a = agents_[index];
  if (!a.alive || a.life != life) return;
  if (const auto* w = std::get_if<welcome>(&body)) {
    for (const auto& s : w->seats) {
      if (const auto known = a.seats.find(s.local_rank);
          known != a.seats.end() && known->second.incarnation >= s.incarnation)
        continue;
      if (a.ranks[s.local_rank]->is_seated())
        fresh_ranks(a);  // a late welcome of an incarnation lost meanwhile came first
      a.seats[s.local_rank] = s;
      a.ranks[s.local_rank]->take_seat(s.seat, s.incarnation);
    }
  } else if (const auto* f = std::get_if<fence>(&body)) {
    const bool mine = std::ranges::any_of(
        a.seats, [&](const auto& s) { return s.second.seat == f->seat && s.second.incarnation <= f->up_to; });
    if (!mine) return;
    sim_.trace([&] { return fmt::format("agent{} is fenced and joins again", index); });
    ++losses_;
    ++a.greeting.process;
    for (auto& r : a.ranks)
      for (auto& [epoch, comm] : fabric_.comms) {
        const bool member = r->is_seated() && std::ranges::any_of(comm.members, [&](const comm_member& m) {
                              return m.seat == r->id() && m.incarnation == r->incarnation();
                            });
        if (member) comm.broken = true;
        if (member) comm.present.erase(r->id());
      }
    fresh_ranks(a);
  } else if (const auto* c = std::get_if<seat_command>(&body)) {
    for (const auto& [local, s] : a.seats)
      if (s.seat == c->seat) a.ranks[local]->feed(rank_event::commanded{*c});
  } else if (const auto* r = std::get_if<refused>(&body)) {
    throw broken("an agent was refused: " + r->failure.text);
  }
}

void world::tick() {
  take(ballast::cluster::input::tick{sim_.now() / 1000});
  sim_.after(20 * ms, [this] { tick(); });
}

}  // namespace ballast::sim
