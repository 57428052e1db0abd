#include "tests/sim/sim_cluster.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::sim {
world::world(std::uint64_t seed, bool tracing) : sim_(seed, tracing), fabric_(sim_), seed_(seed) {
  make_config();
  make_models();
  make_agents();
  fabric_.uplink = [this](rank& r, message_body body) { to_coordinator(agents_[r.agent], std::move(body)); };
}

void world::make_config() {
  auto& roll = sim_.roll;
  coordinator_config c;
  c.heartbeat_ms = 100;
  c.heartbeat_timeout_ms = 600;
  c.command_retry_ms = 150;
  c.operation_deadline_ms = static_cast<std::uint32_t>(roll.between(2, 8) * 1000);
  c.probation_steps = static_cast<std::uint32_t>(roll.between(0, 6));
  c.load_interval_steps = 8;
  c.window_size = 200;
  c.step_interval = roll.chance(0.5) ? static_cast<std::uint32_t>(roll.between(50, 300)) : 0;
  c.num_redundant_experts = static_cast<std::uint32_t>(roll.between(0, 4));
  c.use_async = roll.chance(0.75);
  c.policy = std::string(roll.chance(0.5) ? "economy" : "deepseek");
  c.adds_per_seat = roll.chance(0.5) ? 0 : 1;
  c.auto_replace = roll.chance(0.8);
  c.min_gain_ratio = 0;
  c.shares_interval_ms = roll.chance(0.7) ? static_cast<std::uint32_t>(roll.between(1, 200)) : 0;
  c.shares_window = static_cast<std::uint32_t>(roll.between(1, 40));
  c.shares_tokens = roll.chance(0.5) ? 0 : 200;
  c.shares_gain = roll.chance(0.5) ? 0.0 : 0.02;
  c.early_imbalance = roll.chance(0.5) ? 1.01 : 0;
  c.measured_speeds = roll.chance(0.3);
  c.record_stats = std::string(roll.chance(0.3) ? "recorded" : "");
  c.record_interval_steps = static_cast<std::uint32_t>(roll.between(0, 20));
  c.initial_ranks = static_cast<std::uint32_t>(roll.between(1, 4));
  state_ = std::make_unique<ballast::cluster::cluster_state>(c);
  const bool calm = roll.chance(0.2);
  loss_ = calm ? 0 : roll.chance(0.5) ? 0.02 : 0.2;
  repeat_ = calm ? 0 : 0.1;
  slow_message_ = calm ? 0 : 0.02;
  delay_most_us_ = roll.chance(0.3) ? 60 * ms : 4 * ms;
  planner_failures_ = roll.chance(0.3) ? 0.1 : 0;
  deaths_ = roll.chance(0.6) ? 0.10 : 0;
  breaks_ = roll.chance(0.3) ? 0.08 : 0;
  quiets_ = roll.chance(0.3) ? 0.05 : 0;
  fabric_.fetch_failures = roll.chance(0.3) ? 0.05 : 0;
  fabric_.connect_failures = roll.chance(0.3) ? 0.2 : 0;
}

void world::make_models() {
  const auto n = sim_.roll.between(1, 2);
  for (std::uint64_t m = 0; m < n; ++m) {
    model_description d;
    d.name = std::string(m == 0 ? "target" : "draft");
    d.fingerprint = std::string("f");
    d.layers = static_cast<std::uint32_t>(sim_.roll.between(1, 3));
    d.experts = static_cast<std::uint32_t>(sim_.roll.between(2, 8));
    d.bundle_bytes = 1;
    models_.push_back(std::move(d));
  }
}

void world::make_agents() {
  const auto seats = sim_.roll.between(2, 12);
  std::uint64_t made = 0;
  while (made < seats) {
    agent a;
    a.index = static_cast<std::uint32_t>(agents_.size());
    a.greeting.agent = fmt::format("agent{}", a.index);
    a.greeting.node = fmt::format("node{}", a.index / 2);
    a.greeting.models = models_;
    const auto ranks = std::min<std::uint64_t>(seats - made, sim_.roll.between(1, 2));
    for (std::uint32_t r = 0; r < ranks; ++r) {
      rank_offer o;
      o.local_rank = r;
      o.page_address = fmt::format("pages{}.{}", a.index, r);
      o.capacity.max_batch_tokens = 8;
      for (const auto& m : models_)
        o.capacity.models.push_back({static_cast<std::uint32_t>(sim_.roll.between((m.experts + 2) / 3, m.experts)),
                                     static_cast<std::uint32_t>(sim_.roll.between(1, 3))});
      a.greeting.ranks.push_back(std::move(o));
    }
    made += ranks;
    agents_.push_back(std::move(a));
  }
  for (auto& a : agents_) sim_.after(sim_.roll.between(0, 800 * ms), [this, &a] { start_agent(a); });
}

outcome world::run() {
  outcome out;
  try {
    sim_.after(0, [this] { tick(); });
    random_phase();
    settle();
    check_at_rest();
    check_serving();
  } catch (const std::exception& e) {  // a broken invariant, or code that should not throw
    out.ok = false;
    out.fault = e.what();
  }
  out.lines.assign(sim_.lines.begin(), sim_.lines.end());
  out.events = sim_.events;
  out.steps = state_->newest_step;
  out.operations = state_->last_operation;
  out.losses = losses_;
  for (const auto& m : state_->models) out.share_updates += m.share_updates;
  return out;
}

void world::random_phase() {
  const std::uint64_t end = sim_.roll.between(3, 7) * second;
  sim_.after(300 * ms, [this] { operate(); });
  sim_.after(900 * ms, [this] { disturb(); });
  while (sim_.step(end)) check_tables();
}

bool world::quiet() const {
  const auto& s = *state_;
  const bool all_there = std::ranges::all_of(
      agents_, [](const agent& a) { return !a.alive || a.seats.size() == a.greeting.ranks.size(); });
  return all_there && !s.running && s.queue.empty() && s.previews.empty() && !s.shares_asked;
}

// The network is well again and nobody dies any more: whatever was begun has to end.
void world::settle() {
  healed_ = true;
  state_->config.step_interval = 0;  // loads are noise here: decisions would never end
  state_->config.shares_interval_ms = 0;
  loss_ = repeat_ = slow_message_ = planner_failures_ = deaths_ = breaks_ = quiets_ = 0;
  fabric_.fetch_failures = fabric_.connect_failures = 0;
  for (auto& a : agents_) {
    a.quiet_until_us = 0;
    if (!a.alive && sim_.roll.chance(0.7)) start_agent(a);
    for (auto& r : a.ranks) r->set_working(true);
    for (auto& r : a.ranks) r->slowness = 8;  // fewer steps to wait through until all is quiet
  }
  const std::uint64_t limit = sim_.now() + 180 * second;
  std::uint64_t quiet_since = sim_.now();
  while (sim_.now() < limit && sim_.now() - quiet_since < 3 * second) {
    const std::uint64_t until = sim_.now() + 100 * ms;
    while (sim_.step(until)) check_tables();
    if (!quiet()) quiet_since = sim_.now();
  }
  if (sim_.now() < limit) return;
  std::string what = "the agents do not all join";
  if (state_->running)
    what = fmt::format("operation {} ({}) never ends, phase {}", state_->running->what.id,
                       to_string(state_->running->what.kind), state_->running->report.phase);
  throw broken(what);
}

void world::check_serving() {
  const auto& s = *state_;
  if (s.members.empty()) {
    const auto idle = ballast::cluster::seats_in(s, ballast::cluster::seat_state::idle);
    const bool awaited = !s.served_before && (idle.size() < s.wanted || !s.complaint.empty());  // and says so
    if (!awaited && !idle.empty() && ballast::cluster::fits(s, idle))
      throw broken("nothing is served although the idle seats would do");
    return;
  }
  const auto before = s.newest_step;
  const std::uint64_t until = sim_.now() + 2 * second;
  while (sim_.step(until)) check_tables();
  if (s.newest_step <= before + 10) throw broken(fmt::format("no steps are made: {} after {}", s.newest_step, before));
}

outcome run_schedule(std::uint64_t seed, bool tracing) { return world(seed, tracing).run(); }

}  // namespace ballast::sim
