// The coordinator's process: the production machine, its clock and its planner.
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

// What was on its way to a process that died is lost; what is sent while there is none waits at its sender.
void world::coordinator_takes(const agent_message& m) {
  if (m.to_life != coordinator_life_) return;
  if (!coordinator_up_) {
    held_.push_back(m);
    return;
  }
  if (worth_a_line(m.body)) sim_.trace([&] { return fmt::format("agent{} -> {}", m.agent, describe(m.body)); });
  const auto peer = fmt::format("{}.{}", m.agent, m.life);
  take(cluster::input::message{peer, envelope{1, "agent", m.body}});
  if (fabric_.planted == bug::early_reclaim) speak_for_all(m.body);
}

// The bug: whoever has not said yet that it uses a new table is taken to have said so.
void world::speak_for_all(const message_body& body) {
  const auto* o = std::get_if<seat_outcome>(&body);
  if (!o || !coordinator_up_ || !state_->running) return;
  const auto& op = *state_->running;
  if (op.program.front() != cluster::phase::wave_publishing) return;
  for (const auto& a : std::vector(op.now.awaited)) {
    auto said = *o;
    said.seat = a.seat;
    said.incarnation = state_->seats[index_of(a.seat)].incarnation;
    said.sequence = a.sequence;
    take(cluster::input::message{"nobody.0", envelope{1, "agent", said}});
  }
}

void world::take(const cluster::input_body& what) {
  if (!coordinator_up_) return;
  auto out = cluster::step(*state_, what);
  if (const auto* m = std::get_if<cluster::input::message>(&what)) check_fenced(m->content.body, out);
  check_share_update();
  if (!durable_) return release(std::move(out));
  store_change change;
  if (cluster::rests_on_state(out)) change = saver_.changes(*state_);
  if (fabric_.planted == bug::effects_before_write) release(std::exchange(out, {}));
  gate_.add(std::move(out), std::move(change));
  advance();
}

void world::release(cluster::effects out) {
  for (auto& e : out) perform(e);
}

void world::perform(cluster::effect_body& e) {
  using namespace cluster::effect;
  if (auto* s = std::get_if<send>(&e)) {
    const auto dot = s->peer.find('.');
    if (dot == std::string::npos) return answer_operator(s->id, s->body);
    if (const auto* c = std::get_if<seat_command>(&s->body))
      if (const auto* table = std::get_if<command::publish>(&c->body)) check_version(table->table);
    const auto index = static_cast<std::uint32_t>(std::stoul(s->peer.substr(0, dot)));
    const auto life = std::stoull(s->peer.substr(dot + 1));
    sim_.trace([&] { return fmt::format("-> agent{}: {}", index, describe(s->body)); });
    send_to_agent(index, life, std::move(s->body));
  } else if (auto* p = std::get_if<request_plan>(&e)) {
    ask_planner(std::move(p->request));
  } else if (auto* l = std::get_if<log_line>(&e)) {
    sim_.trace([&] { return "coordinator: " + l->text; });
  } else if (auto* w = std::get_if<publish>(&e)) {
    sim_.trace([&] { return "event: " + w->what.text; });
  }
}

void world::ask_planner(cluster::plan_request request) {
  const bool fails = sim_.roll.chance(planner_failures_);
  sim_.after(sim_.roll.between(100, 20 * ms), [this, fails, life = coordinator_life_, asked = std::move(request)] {
    if (life != coordinator_life_) return;
    auto made = fails ? result<cluster::plan>(ballast::fail(errc::timed_out, "the planner is ill")) : make_plan(asked);
    if (!made) sim_.trace([&] { return "no plan: " + made.error().text; });
    take(cluster::input::planned{asked.id, std::move(made)});
  });
}

// Time stands still now and then, and leaps (hit_coordinator).
void world::tick() {
  if (coordinator_up_ && sim_.now() >= stands_until_us_) {
    clock_ms_ += 20;
    take(cluster::input::tick{clock_ms_});
  }
  sim_.after(20 * ms, [this] { tick(); });
}

}  // namespace ballast::sim
