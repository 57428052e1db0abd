#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {
void world::ask(message_body body) {
  sim_.trace([&] {
    std::string text = std::string("operator: ") + message_name(body);
    if (const auto* s = std::get_if<scale_request>(&body)) {
      text += fmt::format(" to {}", s->ranks);
      for (const auto seat : s->seats) text += fmt::format(" seat {}", index_of(seat));
      if (s->join_first) text += ", join first";
    }
    if (const auto* a = std::get_if<abort_request>(&body)) text += fmt::format(" {}", a->operation);
    return text;
  });
  take(ballast::cluster::input::message{"operator", envelope{++asked_, "operator", std::move(body)}});
}

void world::operate() {
  if (healed_) return;
  auto& roll = sim_.roll;
  const auto& s = *state_;
  const auto what = roll.between(0, 99);
  if (what < 40) {
    scale_request r;
    r.request = roll.chance(0.1) ? "the same" : fmt::format("r{}", asked_);
    r.join_first = roll.chance(0.3);
    if (roll.chance(0.3)) r.deadline_ms = static_cast<std::uint32_t>(roll.between(50, 3000));
    if (roll.chance(0.5)) {
      r.ranks = static_cast<std::uint32_t>(roll.between(0, s.seats.size() + 1));
    } else {
      for (const auto& seat : s.seats)
        if (roll.chance(0.5)) r.seats.push_back(seat.id);
    }
    ask(std::move(r));
  } else if (what < 65) {
    rebalance_request r;
    r.dry_run = roll.chance(0.2);
    r.force = roll.chance(0.6);
    if (roll.chance(0.5)) r.model = models_[roll.between(0, models_.size() - 1)].name;
    ask(std::move(r));
  } else if (what < 85) {
    ask(abort_request{s.running && roll.chance(0.8) ? s.running->what.id : roll.between(0, s.last_operation + 1)});
  } else if (what < 92) {
    ask(get_status{});
  } else {
    ask(get_operations{});
  }
  sim_.after(roll.between(5 * ms, roll.chance(0.5) ? 60 * ms : 500 * ms), [this] { operate(); });
}

void world::disturb() {
  if (healed_) return;
  auto& roll = sim_.roll;
  for (auto& a : agents_) {
    if (a.alive && roll.chance(deaths_)) stop_agent(a, roll.chance(0.7));
    if (a.alive && roll.chance(quiets_)) a.quiet_until_us = sim_.now() + roll.between(200 * ms, 1500 * ms);
    for (auto& r : a.ranks) {
      if (roll.chance(0.1)) r->set_working(!r->working());
      if (roll.chance(0.1)) r->slowness = r->slowness == 1 ? 10 : 1;
    }
  }
  for (auto& [epoch, comm] : fabric_.comms)
    if (!comm.present.empty() && roll.chance(breaks_)) {
      comm.broken = true;
      sim_.trace([&] { return fmt::format("communicator {} breaks", epoch); });
      for (const auto& m : comm.members)
        sim_.after(roll.between(100, 50 * ms), [this, m, at = epoch] {
          if (auto* peer = fabric_.find(m)) peer->break_off(at, errc::unavailable, "the link broke");
        });
    }
  sim_.after(roll.between(20 * ms, 600 * ms), [this] { disturb(); });
}

}  // namespace ballast::sim
