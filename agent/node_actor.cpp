#include <fmt/core.h>

#include <map>

#include "agent/actors_impl.hpp"
#include "messages/complaints.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds greet_again{500};

// The agent's side of the conversation with the coordinator: hello until welcome, then heartbeats and commands.
struct node_shell {
  node_setup setup;
  node_actor::pointer self = nullptr;
  std::map<seat_id, seat_assignment> seats;
  std::chrono::milliseconds heartbeat{100};
  clock::time_point greeted{};
  bool refused_for_good = false;
  complaints held_back, deposed;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> last_totals;  // by rank: steps, nanoseconds
  std::uint64_t term = 0;  // the highest heard: what speaks under a lower one was deposed

  void tick() {
    const auto now = clock::now();
    setup.clients->tick(now);
    if (!seats.empty()) {
      for (const auto& [seat, assigned] : seats)
        self->send(setup.ranks[assigned.local_rank],
                   rank_note{std::make_shared<const rank_event_body>(rank_event::beat{})});
      setup.uplink(beat());
    } else if (!refused_for_good && now - greeted >= greet_again && !steps_on(now)) {
      greeted = now;
      setup.uplink(setup.greeting);
    }
    self->delayed_send(self, heartbeat, tick_note{});
  }

  // Whether a rank still makes a step of its former life. What hangs there would hang again.
  bool steps_on(clock::time_point now) {
    for (const auto* unit : setup.units) {
      const auto ms = unit->loop->pulse().stepping_ms(now);
      if (ms == 0) continue;
      if (ms > 1000 && held_back.add(now))
        log::warn("rank {}: its step has not ended for {} ms; it joins again when it has, or when this agent is restarted",
                  unit->local_rank, ms);
      return true;
    }
    return false;
  }

  ballast::heartbeat beat() {
    ballast::heartbeat out{setup.greeting.agent, setup.greeting.process, {}, setup.clients->refusals()};
    last_totals.resize(setup.units.size());
    for (const auto& [seat, assigned] : seats) {
      const auto& pulse = setup.units[assigned.local_rank]->loop->pulse();
      auto& last = last_totals[assigned.local_rank];
      const std::uint64_t steps = pulse.steps, spent = pulse.stepped_ns;
      seat_beat b{seat, assigned.incarnation, pulse.step, pulse.epoch, pulse.sessions, pulse.tokens, 0, {}, 0, 0};
      if (steps > last.first)
        b.step_ms = static_cast<double>(spent - last.second) / 1e6 / static_cast<double>(steps - last.first);
      last = {steps, spent};
      out.refused.replayed += setup.units[assigned.local_rank]->replayed;
      b.stepping_ms = pulse.stepping_ms(clock::now());
      b.corrupt = setup.units[assigned.local_rank]->corrupt_pulls;
      for (model_index m = 0; m < setup.greeting.models.size(); ++m) {
        b.versions.push_back(pulse.versions[m]);
        const auto& pool = setup.units[assigned.local_rank]->device->pages(m);
        b.pages += pool.capacity() - pool.spare();
      }
      out.seats.push_back(std::move(b));
    }
    return out;
  }

  void take(const envelope& message) {
    if (std::holds_alternative<standby>(message.body)) {
      greeted = {};  // the link goes on to another coordinator: say hello there at once
      return;
    }
    // Of no term: what a gateway says of itself to a message that it cannot read or does not admit, whoever leads.
    const bool of_a_link = message.term == 0 && std::holds_alternative<refused>(message.body);
    if (message.term < term && !of_a_link) {
      if (const auto times = deposed.add(clock::now()))
        log::warn("refused `{}` from a coordinator of term {} ({} since the last report): that of term {} leads",
                  message_name(message.body), message.term, *times, term);
      return;
    }
    term = std::max(term, message.term);
    std::visit([this](const auto& body) { on(body); }, message.body);
  }

  void on(const welcome& w) {
    for (const auto& a : w.seats) {
      if (a.local_rank >= setup.ranks.size()) continue;
      const auto known = seats.find(a.seat);
      if (known != seats.end() && known->second == a) continue;  // a repeat
      seats[a.seat] = a;
      self->send(setup.ranks[a.local_rank], seated{a.seat, a.incarnation, w.load_interval_steps});
    }
    heartbeat = std::chrono::milliseconds(std::max<std::uint32_t>(w.heartbeat_ms, 1));
  }

  void on(const seat_command& c) {
    const auto found = seats.find(c.seat);
    if (found == seats.end()) {
      log::warn("command `{}` for seat {}, which is not here", command_name(c.body), index_of(c.seat));
      return;
    }
    log::debug("seat {}: {} #{} of operation {}", index_of(c.seat), command_name(c.body), c.sequence, c.operation);
    self->send(setup.ranks[found->second.local_rank],
               rank_note{std::make_shared<const rank_event_body>(rank_event::commanded{c})});
  }

  // This process was taken for dead: all of it begins anew, as a new incarnation.
  void on(const fence& f) {
    const auto found = seats.find(f.seat);
    const bool of_a_seat = found != seats.end() && found->second.incarnation <= f.up_to;
    const bool of_its_greeting = seats.empty() && f.process == setup.greeting.process;
    if (!of_a_seat && !of_its_greeting) return;
    log::warn("seat {} was fenced; joining again", index_of(f.seat));
    for (const auto& rank : setup.ranks) self->send(rank, unseated{});
    seats.clear();
    ++setup.greeting.process;
    greeted = {};
  }

  void on(const refused& r) {
    if (!seats.empty()) {
      log::warn("the coordinator refused: {}", r.failure.text);
      return;
    }
    log::error("the coordinator refused this agent: {}", r.failure.text);
    if (r.failure.code == errc::unavailable) return;  // it may take us later
    refused_for_good = true;
    setup.on_refused(r.failure);
  }

  template <class T>
  void on(const T& other) {
    log::warn("the coordinator sent `{}`, which is not for agents", message_name(message_body{other}));
  }
};

node_actor::behavior_type node(node_actor::stateful_pointer<node_shell> self, std::shared_ptr<node_setup> setup) {
  auto* shell = &self->state;
  shell->setup = std::move(*setup);
  shell->self = self;
  self->send(self, tick_note{});
  return {[shell](const node_note& note) { shell->take(*note.message); }, [shell](const tick_note&) { shell->tick(); }};
}

}  // namespace

node_actor spawn_node(caf::actor_system& system, node_setup setup) {
  return system.spawn<caf::detached>(node, std::make_shared<node_setup>(std::move(setup)));
}

}  // namespace ballast
