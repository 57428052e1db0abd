// Agents' processes: they come, greet, beat, obey fences, and die.
#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {

void world::fresh_ranks(agent& a) {
  a.clients->lose_ranks();
  for (auto& r : a.ranks) r->leave_communicators();
  a.ranks.clear();
  a.seats.clear();
  for (const auto& o : a.greeting.ranks) a.ranks.push_back(std::make_unique<rank>(fabric_, a.index, o.local_rank, o));
  if (!healed_) return;
  for (auto& r : a.ranks) r->slowness = calm_slowness;
}

void world::start_agent(agent& a) {
  if (a.alive) return;
  a.alive = true;
  a.returns = false;
  ++a.life;
  a.greeting.process = sim_.roll.next();
  open_front(a);
  fresh_ranks(a);
  sim_.trace([&] { return fmt::format("agent{} starts", a.index); });
  agent_tick(a.index, a.life);
}

// Its peers see the links to it end.
void world::break_communicators(const rank& gone) {
  if (!gone.is_seated()) return;
  for (auto& [epoch, comm] : fabric_.comms) {
    const bool member = std::ranges::any_of(
        comm.members, [&](const comm_member& m) { return m.seat == gone.id() && m.incarnation == gone.incarnation(); });
    if (!member || comm.broken) continue;
    comm.broken = true;
    for (const auto& m : comm.members)
      sim_.after(sim_.roll.between(1 * ms, 300 * ms), [this, m, at = epoch] {
        if (auto* peer = fabric_.find(m)) peer->break_off(at, errc::unavailable, "a peer is gone");
      });
  }
}

void world::stop_agent(agent& a, std::uint64_t back_after_us) {
  if (!a.alive) return;
  sim_.trace([&] {
    std::string seats;
    for (const auto& [local, s] : a.seats) seats += fmt::format(" {}.{}", index_of(s.seat), s.incarnation);
    return fmt::format("agent{} dies with seats{}", a.index, seats);
  });
  ++losses_;
  a.alive = false;
  for (auto& r : a.ranks) {
    break_communicators(*r);
    r->leave_communicators();
  }
  a.ranks.clear();
  a.seats.clear();
  a.clients.reset();
  a.returns = back_after_us != 0;
  if (a.returns) sim_.after(back_after_us, [this, &a] { start_agent(a); });
}

void world::agent_tick(std::uint32_t index, std::uint64_t life) {
  auto& a = agents_[index];
  if (!a.alive || a.life != life) return;
  // Where requests were sent while no rank here took any is of no interest any more.
  if (std::ranges::any_of(a.ranks, [](const auto& r) { return r->accepts(); })) a.clients->redirect_to({});
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

void world::welcomed(agent& a, const welcome& w) {
  for (const auto& s : w.seats) {
    const auto known = a.seats.find(s.local_rank);
    if (known != a.seats.end() && known->second.incarnation >= s.incarnation) continue;
    if (a.ranks[s.local_rank]->is_seated())
      fresh_ranks(a);  // a late welcome of an incarnation lost meanwhile came first
    a.seats[s.local_rank] = s;
    a.ranks[s.local_rank]->take_seat(s.seat, s.incarnation);
  }
}

void world::fenced(agent& a, const fence& f) {
  const bool mine = std::ranges::any_of(
      a.seats, [&](const auto& s) { return s.second.seat == f.seat && s.second.incarnation <= f.up_to; });
  if (!mine && !(a.seats.empty() && f.process == a.greeting.process)) return;
  sim_.trace([&] { return fmt::format("agent{} is fenced and joins again", a.index); });
  ++losses_;
  ++a.greeting.process;
  for (auto& r : a.ranks) break_communicators(*r);
  fresh_ranks(a);
}

void world::to_agent(std::uint32_t index, std::uint64_t life, const message_body& body) {
  auto& a = agents_[index];
  if (!a.alive || a.life != life) return;
  if (const auto* w = std::get_if<welcome>(&body)) {
    welcomed(a, *w);
  } else if (const auto* f = std::get_if<fence>(&body)) {
    fenced(a, *f);
  } else if (const auto* c = std::get_if<seat_command>(&body)) {
    for (const auto& [local, s] : a.seats)
      if (s.seat == c->seat) return a.ranks[local]->command(*c);
  } else if (const auto* r = std::get_if<refused>(&body)) {
    throw broken("an agent was refused: " + r->failure.text);
  }
}

}  // namespace ballast::sim
