#include "tests/sim/sim_cluster.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::sim {

namespace {

bool rests_on_disk(const incident& i) {
  return i.what == incident_kind::coordinator_dies || i.what == incident_kind::slow_disk;
}

}  // namespace

world::world(const schedule& what, bool tracing, bug planted)
    : sim_(what.seed, tracing),
      what_(what),
      models_(what_.where.models),
      fabric_(sim_, models_),
      config_(what_.where.config),
      durable_(std::ranges::any_of(what_.incidents, rests_on_disk)) {
  state_ = std::make_unique<cluster::cluster_state>(config_);
  fabric_.planted = planted;
  fabric_.uplink = [this](rank& r, message_body body) { to_coordinator(agents_[r.agent], std::move(body)); };
  fabric_.output = [this](rank& r, session_output o) { agents_[r.agent].clients->on_output(std::move(o)); };
  fabric_.exported = [this](rank& r, std::uint64_t drain, std::vector<session> sessions,
                            std::vector<session_target> targets) {
    sessions_leave(r, drain, std::move(sessions), std::move(targets));
  };
  make_agents();
}

void world::make_agents() {
  for (const auto& h : what_.where.agents) {
    agent a;
    a.index = static_cast<std::uint32_t>(agents_.size());
    a.greeting = h;
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
    check_restart();
  } catch (const std::exception& e) {  // a broken invariant, or code that should not throw
    out.ok = false;
    out.fault = e.what();
  }
  out.lines.assign(sim_.lines.begin(), sim_.lines.end());
  out.events = sim_.events;
  out.steps = state_->newest_step;
  out.operations = state_->last_operation;
  out.losses = losses_;
  out.answers = answers_;
  out.deaths = deaths_;
  for (const auto& m : state_->models) out.share_updates += m.share_updates;
  return out;
}

void world::random_phase() {
  for (const auto& i : what_.incidents) sim_.after(i.at_us, [this, &i] { happen(i); });
  while (sim_.step(what_.where.random_us)) check_tables();
}

bool world::quiet() const {
  const auto& s = *state_;
  const bool all_there = std::ranges::all_of(
      agents_, [](const agent& a) { return !a.returns && (!a.alive || a.seats.size() == a.greeting.ranks.size()); });
  const bool answered =
      s.members.empty() || std::ranges::all_of(clients_, [](const client& c) { return c.next == c.steps; });
  const bool all_heard = std::ranges::none_of(s.members, [&](seat_id seat) { return s.unheard.contains(seat); });
  return coordinator_up_ && !writing_ && all_there && all_heard && answered && !s.running && s.queue.empty() &&
         s.previews.empty() && !s.shares_asked && s.now_ms >= s.rest_until_ms && sim_.now() >= held_until_us_;
}

std::string world::unrest() const {
  const auto& s = *state_;
  if (s.running)
    return fmt::format("operation {} ({}) never ends, phase {}", s.running->what.id, to_string(s.running->what.kind),
                       s.running->report.phase);
  for (const auto& a : agents_)
    if (a.alive && a.seats.size() != a.greeting.ranks.size()) return fmt::format("agent{} does not join", a.index);
  for (const auto& c : clients_)
    if (c.next != c.steps) return fmt::format("request {} is lost: {} of {} answers", c.id, c.next, c.steps);
  return "the cluster does not come to rest";
}

// All is well again and nobody dies any more: whatever was begun has to end.
void world::settle() {
  calm_down();
  config_.step_interval = 0;  // loads are noise here: decisions would never end
  config_.shares_interval_ms = 0;
  state_->config = config_;
  for (auto& a : agents_) {
    if (!a.alive && sim_.roll.chance(0.7)) start_agent(a);
    for (auto& r : a.ranks) {
      r->set_working(true);
      r->slowness = calm_slowness;
    }
  }
  come_to_rest();
}

void world::come_to_rest() {
  const std::uint64_t limit = sim_.now() + 180 * second, rest = 1 * second;
  std::uint64_t quiet_since = sim_.now();
  while (sim_.now() < limit && sim_.now() - quiet_since < rest) {
    const std::uint64_t until = sim_.now() + 50 * ms;
    while (sim_.step(until)) check_tables();
    if (!quiet()) quiet_since = sim_.now();
  }
  if (sim_.now() >= limit) throw broken(unrest());
}

void world::check_serving() {
  const auto& s = *state_;
  if (s.members.empty()) {
    const auto idle = cluster::seats_in(s, cluster::seat_state::idle);
    const bool awaited = !s.served_before && (idle.size() < s.wanted || !s.complaint.empty());  // and says so
    if (!awaited && !idle.empty() && cluster::fits(s, idle))
      throw broken("nothing is served although the idle seats would do");
    return;
  }
  const auto before = s.newest_step;
  const std::uint64_t until = sim_.now() + 500 * ms;
  while (sim_.step(until)) check_tables();
  if (s.newest_step <= before + 4) throw broken(fmt::format("no steps are made: {} after {}", s.newest_step, before));
}

// A coordinator that comes back finds everything as it was, and leaves it so.
void world::check_restart() {
  if (!durable_) return;
  const auto members = state_->members;
  const auto operations = state_->last_operation;
  dead_for_us_ = 200 * ms;
  coordinator_dies();
  come_to_rest();
  if (state_->members != members || state_->last_operation != operations)
    throw broken(fmt::format("a restart at rest began operation {}", state_->last_operation));
  check_at_rest();
}

outcome run_schedule(const schedule& what, bool tracing, bug planted) { return world(what, tracing, planted).run(); }

outcome run_schedule(std::uint64_t seed, bool tracing) { return run_schedule(draw(seed), tracing); }

}  // namespace ballast::sim
