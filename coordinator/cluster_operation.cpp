#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

// Slots named by a table in use are no litter.
void name_slots(cluster_state& s, model_index model, const std::vector<policies::transfer>& placed) {
  for (const auto& t : placed)
    if (const auto found = s.unnamed.find(t.seat); found != s.unnamed.end())
      found->second.erase({model, t.layer, t.slot});
}

void forget_slots(cluster_state& s, model_index model, const std::vector<policies::drop>& dropped) {
  for (const auto& d : dropped)
    if (alive(s, d.seat)) s.unnamed[d.seat].insert({model, d.layer, d.slot});
}

// Every slot that the seats were told to empty is empty.
void emptied(context& c) {
  for (const auto& a : c.op().now.answers) c.s.unnamed.erase(a.seat);
}

void published(context& c) {
  auto& op = c.op();
  const auto* w = wave_of(op);
  if (!w) return;
  const auto model = op.made->models[op.model].model;
  auto& m = c.s.models[model];
  m.current = std::move(m.publishing);
  m.publishing.reset();
  name_slots(c.s, model, w->adds);
  forget_slots(c.s, model, w->drops);
  op.report.pages_copied += w->adds.size();
}

// Moves on to the wave after this one, or out of the loop.
void next_wave(operation& op) {
  if (!op.made) return;
  ++op.wave;
  while (op.model < op.made->models.size() && op.wave >= op.made->models[op.model].waves.size()) {
    ++op.model;
    op.wave = 0;
  }
  if (wave_of(op))
    op.program.insert(op.program.begin() + 1, {phase::wave_staging, phase::wave_publishing, phase::wave_reclaiming});
}

void released(context& c) {
  for (const auto& a : c.op().now.answers) set_seat_state(c, a.seat, seat_state::idle);
  if (c.op().undoing && c.s.members.empty()) c.s.epoch = 0;
}

void halted(context& c) {
  if (c.op().undoing && !c.s.members.empty()) return;  // only the joiners of a switch that was taken back
  c.s.held.clear();
  c.s.epoch = 0;
}

// What a completed round means.
void take_answers(context& c, phase p) {
  auto& op = c.op();
  switch (p) {
    case phase::staging:
      op.report.pages_copied += [&] {
        std::uint64_t n = 0;
        for (const auto& m : op.made->models) n += m.staged.size();
        return n;
      }();
      if (op.what.kind == operation_kind::replace)  // all there: from here on this is the table to start from
        for (auto& m : op.made->models) {
          c.s.models[m.model].current = m.table;
          name_slots(c.s, m.model, m.staged);
        }
      return;
    case phase::wave_publishing:
      return published(c);
    case phase::wave_reclaiming:
      return emptied(c);
    case phase::switching:
      return take_switch(c);
    case phase::cleaning:
      return emptied(c);
    case phase::unholding:
      if (op.program.size() < 2 || op.program[1] != phase::unholding) c.s.held.clear();
      return;
    case phase::undraining:
      for (const auto seat : op.leavers) set_seat_state(c, seat, seat_state::active);
      return;
    case phase::closing:
      op.old_tables.clear();
      return;
    case phase::releasing:
      return released(c);
    case phase::halting:
      return halted(c);
    case phase::resuming:
      return take_switch(c);
    default:
      return;
  }
}

// The switch is off, or has happened after all.
void disarmed(context& c) {
  auto& op = c.op();
  const bool happened = std::ranges::any_of(op.now.answers, &seat_outcome::switched);
  if (!happened) {
    op.switch_uncertain = false;
    return;
  }
  log_line(c, fmt::format("operation {}: the switch had happened before it could be taken back; going on", op.what.id));
  take_switch(c);
  op.undoing = false;
  const auto whole = op.leavers.empty() ? to_program(program::grow) : to_program(program::shrink);
  const auto at = std::ranges::find(whole, phase::switching);
  op.program.assign(at, whole.end());  // leave_phase() drops the first
}

void end_of_program(context& c) {
  auto& op = c.op();
  if (op.undoing) return finish(c, op.what.kind == operation_kind::replace ? "failed" : "aborted", op.reason);
  const auto target = op.what.target;
  if (op.growing && !without(c.s.members, target).empty()) {
    op.deadline_ms = std::max(op.deadline_ms, c.s.now_ms + c.s.config.operation_deadline_ms);
    set_up_shrink(c);
    return follow(c, to_program(program::shrink));
  }
  finish(c, "done", op.reason.empty() ? op.what.reason : op.reason);
}

// No slot is emptied while something may still be put into it: waits for stages that were broken off. A seat that is
// released needs no waiting for, its pages are emptied whatever comes.
bool settle(context& c) {
  auto& op = c.op();
  const auto& staying = op.what.kind == operation_kind::replace ? op.new_members : c.s.members;
  std::erase_if(op.unsettled, [&](const awaited_answer& a) { return !contains(staying, a.seat); });
  if (op.unsettled.empty()) return false;
  start_round(c, {});
  op.now.awaited = std::move(op.unsettled);
  op.unsettled.clear();
  op.settling = true;
  return true;
}

// The phase under way is over. False: the operation took another way.
bool complete(context& c) {
  auto& op = c.op();
  const phase p = op.program.front();
  take_answers(c, p);
  if (p == phase::disarming) disarmed(c);
  if (p == phase::wave_reclaiming) next_wave(op);
  op.program.erase(op.program.begin());
  const bool boundary = p == phase::wave_reclaiming || p == phase::cleaning;
  if (!boundary || !op.stop_after_wave || op.undoing || op.committed) return true;
  undo(c, op.reason);
  return false;
}

// A change of members is past its commit point: what remains are moves, and they can be given up.
void give_moves_up(context& c, const std::string& why) {
  c.op().reason = "committed; the remaining moves were given up: " + why;
  follow(c, to_program(std::array{phase::cleaning}));
}

// In probation the switch is taken back: from here on the members are the old ones again.
void take_back(context& c, const std::string& why) {
  auto& op = c.op();
  op.undoing = true;
  op.reason = "reverted in probation: " + why;
  set_members(c.s, op.old_members);
  c.s.epoch = op.old_epoch;
  c.s.wanted = op.old_wanted;
  for (std::size_t i = 0; i < c.s.models.size(); ++i) c.s.models[i].current = op.old_tables[i];
  for (const auto seat : op.joiners) set_seat_state(c, seat, seat_state::leaving);
  follow(c, to_program(program::take_back));
}

void stop_at_boundary(context& c, const std::string& why) {
  c.op().stop_after_wave = true;
  c.op().reason = why;
}

}  // namespace

void follow(context& c, std::vector<phase> phases) {
  c.op().program = std::move(phases);
  enter_phase(c);
}

void enter_phase(context& c) {
  for (;;) {
    auto& op = c.op();
    if (op.program.empty()) return end_of_program(c);
    const phase p = op.program.front();
    op.settling = false;
    if (p == phase::planning) {
      op.now = {};
      op.now.deadline_ms = op.deadline_ms;
      ask_for_plan(c);
      break;
    }
    if (p == phase::cleaning && settle(c)) break;
    start_round(c, commands_of(c, p));
    if (!op.now.awaited.empty()) break;
    if (!complete(c)) return;
  }
  refresh_report(c.s);
  if (c.op().what.kind == operation_kind::shares) return;  // too many to be news
  keep(c, c.op().report);
  tell(c, "operation",
       fmt::format("operation {} ({}): {}", c.op().what.id, to_string(c.op().what.kind), c.op().report.phase),
       &c.op().report);
}

void leave_phase(context& c) {
  if (c.op().settling || complete(c)) enter_phase(c);
}

void undo(context& c, const std::string& why) {
  auto& op = c.op();
  if (op.what.kind == operation_kind::replace) return start_over(c, why, {});
  if (op.undoing) return;
  const phase p = op.program.empty() ? phase::planning : op.program.front();
  if (p == phase::staging || p == phase::wave_staging)
    std::ranges::copy(op.now.awaited, std::back_inserter(op.unsettled));
  if (op.committed) return give_moves_up(c, why);
  op.undoing = true;
  op.reason = why;
  follow(c, p == phase::resuming ? to_program(program::undo_start) : to_program(program::undo));
}

void apply(context& c, reaction r, const std::string& why, const std::vector<seat_id>& culprits) {
  auto& op = c.op();
  switch (r) {
    case reaction::undo:
      if (op.what.kind == operation_kind::replace) return start_over(c, why, culprits);
      return undo(c, why);
    case reaction::disarm:
      return undo(c, why);  // the way back begins with disarming
    case reaction::take_back:
      return take_back(c, why);
    case reaction::wave_end:
      return stop_at_boundary(c, why);
    case reaction::recover:
      return recover(c, why);
    case reaction::lose:
      return lose_seats(c, culprits, why);
    case reaction::again:
    case reaction::refuse:
      return;
  }
}

void set_up_grow(context& c) {
  auto& op = c.op();
  op.old_members = c.s.members;
  op.old_epoch = c.s.epoch;
  op.joiners = without(op.what.target, c.s.members);
  op.leavers.clear();
  op.new_members = joined(c.s.members, op.joiners);
  op.growing = true;
  op.epoch = 0;
  op.committed = false;
  for (const auto seat : op.joiners) set_seat_state(c, seat, seat_state::joining);
}

void set_up_shrink(context& c) {
  auto& op = c.op();
  op.old_members = c.s.members;
  op.old_epoch = c.s.epoch;
  op.joiners.clear();
  op.leavers = without(c.s.members, op.what.target);
  op.new_members = without(c.s.members, op.leavers);
  op.growing = false;
  op.epoch = 0;
  op.committed = false;
  op.asked.reset();
  op.made.reset();
  op.model = op.wave = 0;
  for (const auto seat : op.leavers) set_seat_state(c, seat, seat_state::leaving);
}

void take_switch(context& c) {
  auto& op = c.op();
  const bool tables_change = op.leavers.empty();
  op.old_tables.clear();
  for (auto& m : c.s.models) op.old_tables.push_back(m.current);
  if (tables_change && op.made)
    for (const auto& m : op.made->models) {
      c.s.models[m.model].current = m.table;
      name_slots(c.s, m.model, m.staged);
    }
  set_members(c.s, op.new_members);
  c.s.epoch = op.epoch;
  c.s.served_before = true;
  op.switch_uncertain = false;
  op.committed = op.what.kind == operation_kind::scale;
  op.old_wanted = c.s.wanted;
  if (op.committed) c.s.wanted = static_cast<std::uint32_t>(op.what.target.size());
  for (const auto seat : op.new_members) set_seat_state(c, seat, seat_state::active);
  // The first wave, if any, is that of the first model that has one.
  op.model = op.wave = 0;
  if (op.made)
    while (op.model < op.made->models.size() && op.made->models[op.model].waves.empty()) ++op.model;
}

}  // namespace ballast::cluster
