#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

constexpr std::uint32_t failures_allowed = 3;

void send_command(context& c, awaited_answer& a) {
  const auto& r = c.s.seats[index_of(a.seat)];
  a.sent_ms = c.s.now_ms;
  c.out.push_back(effect::send{c.s.agents[r.agent].peer, 0,
                               seat_command{a.seat, r.incarnation, a.sequence, c.op().what.id, a.body}});
}

std::uint64_t deadline_of(const context& c) {
  const auto& op = *c.s.running;
  const auto& row = row_of(op.program.front());
  if (!row.own_deadline && !op.undoing) return op.deadline_ms;
  const std::uint64_t quick =
      std::max(5 * std::uint64_t{c.s.config.heartbeat_timeout_ms}, 10 * std::uint64_t{c.s.config.command_retry_ms});
  const std::uint64_t budget = c.s.config.operation_deadline_ms;
  return c.s.now_ms + (row.at == phase::halting ? std::min(quick, budget) : budget);
}

void note_answer(context& c, const seat_outcome& o) {
  auto& r = c.s.seats[index_of(o.seat)];
  r.beat.step = std::max(r.beat.step, o.step);
  c.s.newest_step = std::max(c.s.newest_step, o.step);
  c.op().report.bytes_moved += o.bytes;
}

std::vector<seat_id> seats_of(const std::vector<awaited_answer>& awaited) {
  std::vector<seat_id> out;
  for (const auto& a : awaited) out.push_back(a.seat);
  return out;
}

}  // namespace

void start_round(context& c, std::vector<std::pair<seat_id, command_body>> commands) {
  auto& op = c.op();
  op.now = {};
  op.now.deadline_ms = deadline_of(c);
  for (auto& [seat, body] : commands) {
    auto& r = c.s.seats[index_of(seat)];
    if (r.state == seat_state::lost) continue;
    op.now.awaited.push_back({seat, ++r.last_sequence, 0, 0, std::move(body)});
    send_command(c, op.now.awaited.back());
  }
}

void send_again(context& c, awaited_answer& a) {
  a.sequence = ++c.s.seats[index_of(a.seat)].last_sequence;
  send_command(c, a);
}

void on_outcome(context& c, const seat_outcome& o) {
  if (!c.s.running || o.operation == 0) return;
  auto& op = c.op();
  const auto same = [&](const awaited_answer& a) { return a.seat == o.seat && a.sequence == o.sequence; };
  const auto found = std::ranges::find_if(op.now.awaited, same);
  if (found == op.now.awaited.end()) {  // of a round that is over, or of a stage that was broken off
    std::erase_if(op.unsettled, same);
    return;
  }
  if (!o.ok && o.failure.code == errc::fenced && op.settling == false)
    return;  // its incarnation or our command is outdated
  note_answer(c, o);
  if (!o.ok && !op.settling) {
    const std::string why =
        fmt::format("seat {} failed to {}: {}", index_of(o.seat), command_name(found->body), o.failure.text);
    const auto r = row_of(op.program.front()).on_failure;
    if (r != reaction::again) return apply(c, r, why, {o.seat});
    log_line(c, why, true);
    if (++found->failures >= failures_allowed) return lose_seats(c, {o.seat}, why);
    return send_again(c, *found);
  }
  op.now.awaited.erase(found);
  op.now.answers.push_back(o);
  if (op.now.awaited.empty()) leave_phase(c);
}

void drop_from_rounds(context& c, const std::vector<seat_id>& lost) {
  if (!c.s.running) return;
  const auto gone = [&](const awaited_answer& a) { return contains(lost, a.seat); };
  std::erase_if(c.op().now.awaited, gone);
  std::erase_if(c.op().unsettled, gone);
}

void repeat_commands(context& c, seat_id seat) {
  if (!c.s.running) return;
  for (auto& a : c.op().now.awaited)
    if (a.seat == seat) send_command(c, a);
}

void look_at_round(context& c) {
  if (!c.s.running) return;
  auto& op = c.op();
  if (op.pause_until_ms != 0) {
    if (c.s.now_ms >= op.pause_until_ms) start_over(c, op.reason, {});
    return;
  }
  if (!c.s.unheard.empty()) return;  // after a restart nobody is late who was not heard or missed yet
  if (c.s.now_ms >= op.now.deadline_ms) {
    const auto late = seats_of(op.now.awaited);
    const std::string why = fmt::format("deadline passed while {}", row_of(op.program.front()).name);
    if (op.what.kind == operation_kind::replace && !late.empty()) return lose_seats(c, late, why);
    return apply(c, row_of(op.program.front()).on_deadline, why, late);
  }
  if (op.program.front() == phase::planning && !op.asked) return ask_again_for_plan(c);
  for (auto& a : op.now.awaited)
    if (c.s.now_ms >= a.sent_ms + c.s.config.command_retry_ms) send_command(c, a);
}

}  // namespace ballast::cluster
