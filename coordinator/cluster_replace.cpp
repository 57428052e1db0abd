#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

constexpr std::uint32_t patient_attempts = 8;

// What is true when an operation is cut off: tables on their way and a switch that may have happened count as done, for
// every replica they name is in place.
void settle_for_newest(context& c) {
  auto& op = c.op();
  if (op.switch_uncertain) take_switch(c);
  for (auto& m : c.s.models) {
    if (!m.publishing) continue;
    const auto* w = wave_of(op);
    const auto model = m.publishing->model;
    if (w) {
      for (const auto& t : w->adds)
        if (const auto found = c.s.unnamed.find(t.seat); found != c.s.unnamed.end())
          found->second.erase({model, t.layer, t.slot});
      for (const auto& d : w->drops)
        if (alive(c.s, d.seat)) c.s.unnamed[d.seat].insert({model, d.layer, d.slot});
    }
    m.current = std::move(m.publishing);
    m.publishing.reset();
  }
}

std::vector<awaited_answer> broken_off_stages(operation& op) {
  auto out = std::move(op.unsettled);
  if (op.settling) std::ranges::move(op.now.awaited, std::back_inserter(out));
  const phase p = op.program.empty() ? phase::planning : op.program.front();
  if (p == phase::staging || p == phase::wave_staging) std::ranges::move(op.now.awaited, std::back_inserter(out));
  op.unsettled.clear();
  op.now.awaited.clear();
  op.settling = false;
  return out;
}

void halt_and_repair(context& c) {
  auto& op = c.op();
  op.joiners.clear();
  op.leavers.clear();
  op.old_members.clear();
  op.old_tables.clear();
  op.old_epoch = op.epoch = 0;
  op.asked.reset();
  op.made.reset();
  op.model = op.wave = 0;
  op.pause_until_ms = 0;
  op.deadline_ms = c.s.now_ms + c.s.config.operation_deadline_ms;
  set_members(c.s, alive_only(c.s, c.s.members));
  op.new_members = op.what.target = c.s.members;
  op.report.target = op.what.target;
  c.s.epoch = 0;
  if (c.s.members.empty()) return go_out_of_service(c, "no seat is left");
  follow(c, to_program(program::replace));
}

}  // namespace

void recover(context& c, const std::string& why) {
  if (c.s.running && c.op().what.kind == operation_kind::replace) return start_over(c, why, {});
  std::vector<awaited_answer> unsettled;
  bool scaled = false;
  if (c.s.running) {
    settle_for_newest(c);
    scaled = c.op().what.kind == operation_kind::scale && c.op().committed && !c.op().undoing;
    unsettled = broken_off_stages(c.op());
    finish(c, scaled ? "done" : "aborted", scaled ? "committed, then cut short: " + why : why);
  }
  std::erase_if(unsettled, [&](const awaited_answer& a) { return !alive(c.s, a.seat); });
  operation op;
  op.what.id = ++c.s.last_operation;
  op.what.kind = operation_kind::replace;
  op.what.reason = why;
  op.began_ms = c.s.now_ms;
  op.unsettled = std::move(unsettled);
  op.report = report_of(c.s, op.what);
  c.s.running = std::move(op);
  halt_and_repair(c);
}

void start_over(context& c, const std::string& why, const std::vector<seat_id>& culprits) {
  auto& op = c.op();
  op.reason = why;
  auto unsettled = broken_off_stages(op);
  std::erase_if(unsettled, [&](const awaited_answer& a) { return !alive(c.s, a.seat); });
  op.unsettled = std::move(unsettled);
  if (!culprits.empty() && ++op.attempts >= patient_attempts) {
    op.attempts = 0;
    return lose_seats(c, culprits, why);  // comes back here without them
  }
  if (!culprits.empty()) {  // not at once: a peer that is gone may not have been missed yet
    op.pause_until_ms = c.s.now_ms + c.s.config.command_retry_ms;
    return log_line(c, fmt::format("operation {}: {}; starting over", op.what.id, why), true);
  }
  halt_and_repair(c);
}

void go_out_of_service(context& c, const std::string& why) {
  auto& op = c.op();
  log_line(c, "out of service: " + why, true);
  op.undoing = true;
  op.reason = "out of service: " + why + "; waiting for seats";
  op.unsettled.clear();  // a release empties everything, whatever is still being fetched
  op.new_members.clear();
  set_members(c.s, {});
  c.s.epoch = 0;
  for (auto& m : c.s.models) m.current.reset();
  follow(c, to_program(program::give_up));
}

}  // namespace ballast::cluster
