// What operators, clients and faults do to the simulated cluster when their time has come.
#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {
namespace {

std::string text_of(const message_body& body) {
  std::string text = message_name(body);
  if (const auto* s = std::get_if<scale_request>(&body)) {
    text += fmt::format(" `{}` to {}", s->request, s->ranks);
    for (const auto seat : s->seats) text += fmt::format(" seat {}", index_of(seat));
    if (s->join_first) text += ", join first";
  }
  if (const auto* a = std::get_if<abort_request>(&body)) text += fmt::format(" {}", a->operation);
  return text;
}

std::string request_of(const message_body& body) {
  if (const auto* s = std::get_if<scale_request>(&body)) return s->request;
  if (const auto* r = std::get_if<rebalance_request>(&body)) return r->request;
  return {};
}

constexpr std::uint64_t operator_patience_us = 300 * ms;

}  // namespace

void world::happen(const incident& i) {
  if (healed_) return;
  sim_.trace([&] { return fmt::format("[{}] {}", i.number, to_string(i.what)); });
  const dice roll(i.detail);
  if (i.what <= incident_kind::look) return operate(i, roll);
  if (i.what == incident_kind::request) return open_request(roll);
  hit_agent(i, roll);
  hit_links(i, roll);
  hit_coordinator(i, roll);
}

void world::operate(const incident& i, dice roll) {
  const auto& s = *state_;
  const auto request = roll.chance(0.1) ? std::string("the same") : fmt::format("r{}", i.number);
  const auto tries = static_cast<std::uint32_t>(roll.between(1, 3));
  if (i.what == incident_kind::scale) {
    scale_request r;
    r.request = request;
    r.join_first = roll.chance(0.3);
    if (roll.chance(0.3)) r.deadline_ms = static_cast<std::uint32_t>(roll.between(50, 3000));
    if (roll.chance(0.5)) {
      r.ranks = static_cast<std::uint32_t>(roll.between(0, s.seats.size() + 1));
    } else {
      for (const auto& seat : s.seats)
        if (roll.chance(0.5)) r.seats.push_back(seat.id);
    }
    ask(std::move(r), tries);
  } else if (i.what == incident_kind::rebalance) {
    rebalance_request r;
    r.request = request;
    r.dry_run = roll.chance(0.2);
    r.force = roll.chance(0.6);
    if (roll.chance(0.5)) r.model = models_[roll.between(0, models_.size() - 1)].name;
    ask(std::move(r), tries);
  } else if (i.what == incident_kind::abort) {
    ask(abort_request{s.running && roll.chance(0.8) ? s.running->what.id : roll.between(0, s.last_operation + 1)}, 1);
  } else if (roll.chance(0.5)) {
    ask(get_status{}, 1);
  } else {
    ask(get_operations{}, 1);
  }
}

void world::ask(message_body body, std::uint32_t tries) {
  const auto id = ++next_id_;
  asked_[id] = asking{std::move(body), tries};
  ask_again(id);
}

// Until it is answered, or patience ends; now and then once more although it was answered.
void world::ask_again(std::uint64_t id) {
  auto& a = asked_[id];
  if (a.tries_left == 0 || (a.answered && !sim_.roll.chance(0.2))) return;
  --a.tries_left;
  sim_.trace([&] { return "operator: " + text_of(a.body); });
  sim_.after(operator_patience_us, [this, id] { ask_again(id); });
  if (!sim_.roll.chance(weather_.loss)) take(cluster::input::message{"operator", envelope{id, "operator", a.body}});
}

void world::answer_operator(std::uint64_t id, const message_body& body) {
  if (sim_.roll.chance(weather_.loss)) return;
  sim_.trace([&] {
    const auto* r = std::get_if<refused>(&body);
    return fmt::format("answer: {}{}", message_name(body), r ? ": " + r->failure.text : "");
  });
  auto& a = asked_[id];
  a.answered = true;
  const auto* yes = std::get_if<accepted>(&body);
  const auto request = request_of(a.body);
  if (!yes || request.empty()) return;
  const auto [at, fresh] = accepted_.try_emplace(request, yes->operation);
  if (!fresh && at->second != yes->operation)
    throw broken(
        fmt::format("request `{}` was accepted as operation {} and as {}", request, at->second, yes->operation));
}

void world::hit_agent(const incident& i, dice roll) {
  auto& a = agents_[roll.between(0, agents_.size() - 1)];
  const auto which = roll.next();
  rank* r = a.ranks.empty() ? nullptr : a.ranks[which % a.ranks.size()].get();
  if (i.what == incident_kind::agent_dies) {
    stop_agent(a, roll.chance(0.7) ? roll.between(10 * ms, 3000 * ms) : 0);
  } else if (i.what == incident_kind::rank_hangs && r && r->is_seated()) {
    sim_.trace([&] { return fmt::format("seat {} hangs", index_of(r->id())); });
    ++losses_;
    r->hang();
  } else if (i.what == incident_kind::slow_rank && r) {
    r->slowness = static_cast<std::uint32_t>(roll.between(3, 15));
    sim_.after(i.for_us, [this, &a, which] {
      if (!healed_ && !a.ranks.empty()) a.ranks[which % a.ranks.size()]->slowness = 1;
    });
  } else if (i.what == incident_kind::idle_rank && r) {
    r->set_working(false);
    sim_.after(i.for_us, [&a, which] {
      if (!a.ranks.empty()) a.ranks[which % a.ranks.size()]->set_working(true);
    });
  } else if (i.what == incident_kind::cut_control) {
    const auto ways = roll.between(1, 3);
    const direction cut{sim_.now() + i.for_us, roll.chance(0.5)};
    if ((ways & 1) != 0) a.up = cut;
    if ((ways & 2) != 0) a.down = cut;
    sim_.trace([&] {
      return fmt::format("agent{} is cut off: {}", a.index, ways == 1 ? "up" : ways == 2 ? "down" : "both");
    });
  }
}

void world::hit_links(const incident& i, dice roll) {
  if (i.what == incident_kind::weather) {
    const auto before = weather_;
    weather_ = {roll.chance(0.5) ? 0.02 : 0.2, 0.1, 0.02, roll.chance(0.3) ? 60 * ms : 4 * ms};
    sim_.after(i.for_us, [this, before] { weather_ = healed_ ? weather{} : before; });
  } else if (i.what == incident_kind::cut_data) {
    const auto a = static_cast<std::uint32_t>(roll.between(0, agents_.size() - 1));
    const auto b = static_cast<std::uint32_t>(roll.between(0, agents_.size() - 1));
    if (a == b) return;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> cuts{{a, b}};
    if (roll.chance(0.5)) cuts.emplace_back(b, a);
    fabric_.cuts.insert(cuts.begin(), cuts.end());
    sim_.trace([&] { return fmt::format("agent{} and agent{} are cut apart", a, b); });
    sim_.after(i.for_us, [this, cuts] { mend(cuts); });
  } else if (i.what == incident_kind::link_breaks) {
    for (auto& [epoch, comm] : fabric_.comms) {
      if (comm.present.empty()) continue;
      comm.broken = true;
      sim_.trace([&] { return fmt::format("communicator {} breaks", epoch); });
      for (const auto& m : comm.members)
        sim_.after(roll.between(100, 50 * ms), [this, m, at = epoch] {
          if (auto* peer = fabric_.find(m)) peer->break_off(at, errc::unavailable, "the link broke");
        });
    }
  } else if (i.what == incident_kind::pulls_fail) {
    for_a_while(i.for_us, fabric_.pull_failures, 0.1);
  } else if (i.what == incident_kind::builds_fail) {
    for_a_while(i.for_us, fabric_.build_failures, 0.3);
  }
}

void world::hit_coordinator(const incident& i, dice roll) {
  if (i.what == incident_kind::clock_leaps) {
    clock_ms_ += roll.between(50, 3000);
  } else if (i.what == incident_kind::clock_stands) {
    stands_until_us_ = sim_.now() + i.for_us;
  } else if (i.what == incident_kind::planner_ill) {
    for_a_while(i.for_us, planner_failures_, 0.3);
  } else if (i.what == incident_kind::outcomes_lost) {
    outcomes_to_lose_ += static_cast<std::uint32_t>(roll.between(1, 6));
  } else if (i.what == incident_kind::slow_disk) {
    disk_slow_until_us_ = sim_.now() + i.for_us;
  } else if (i.what == incident_kind::coordinator_dies) {
    dead_for_us_ = i.for_us;
    const auto how = roll.between(0, 9);
    if (how == 0) return coordinator_dies();
    death_due_ = how <= 5 ? death::before_write : death::after_write;
    writes_until_death_ = roll.between(1, 40);
  }
}

void world::for_a_while(std::uint64_t us, double& what, double is) {
  what = is;
  sim_.after(us, [&what] { what = 0; });
}

// What waited for the other side goes on.
void world::mend(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& cuts) {
  for (const auto& c : cuts) fabric_.cuts.erase(c);
  for (auto& [epoch, comm] : fabric_.comms) {
    rank::try_exchange(fabric_, epoch);
    rank::try_connect(fabric_, epoch);
  }
  for (const auto& [key, r] : fabric_.seated) r->wake();
}

void world::calm_down() {
  healed_ = true;
  weather_ = {};
  planner_failures_ = fabric_.pull_failures = fabric_.build_failures = 0;
  outcomes_to_lose_ = 0;
  stands_until_us_ = disk_slow_until_us_ = 0;
  death_due_ = death::none;
  for (auto& a : agents_) {
    a.up = a.down = {};
    // A rank that steps alone hangs unnoticed: what watches over processes ends it.
    if (std::ranges::any_of(a.ranks, [](const auto& r) { return r->hung(); })) stop_agent(a, 100 * ms);
  }
  mend({fabric_.cuts.begin(), fabric_.cuts.end()});
}

}  // namespace ballast::sim
