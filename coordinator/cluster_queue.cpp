#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

void remember(context& c, const operation_status& report) {
  c.s.history.push_front(report);
  if (c.s.history.size() > cluster_state::max_history) c.s.history.pop_back();
  keep(c, report);
  tell(c, "operation",
       fmt::format("operation {} ({}) is {}: {}", report.id, report.kind, report.outcome, report.reason), &report);
  log_line(c, fmt::format("operation {} ({}) {}: {}", report.id, report.kind, report.outcome, report.reason),
           report.outcome != "done");
}

void begin_scale(context& c) {
  auto& op = c.op();
  auto target = choose_seats(c.s, op.what);
  if (!target) return finish(c, "failed", target.error().text);
  if (auto ok = fits(c.s, *target); !ok) return finish(c, "failed", ok.error().text);
  op.what.target = *target;
  if (*target == c.s.members) {
    c.s.wanted = static_cast<std::uint32_t>(target->size());
    return finish(c, "done", "these seats are active already");
  }
  op.report.target = *target;
  if (c.s.members.empty()) {
    set_up_grow(c);
    op.growing = false;
    return follow(c, to_program(program::start));
  }
  if (!without(*target, c.s.members).empty()) {
    set_up_grow(c);
    return follow(c, to_program(program::grow));
  }
  set_up_shrink(c);
  follow(c, to_program(program::shrink));
}

// What the cluster wants of its own accord: to start, to come back into service, to be as large as it was.
std::optional<order> own_wish(context& c) {
  auto& s = c.s;
  const auto idle = seats_in(s, seat_state::idle);
  if (idle.empty() || s.now_ms < s.rest_until_ms) return std::nullopt;
  order o;
  o.kind = operation_kind::scale;
  o.budget_ms = s.config.operation_deadline_ms;
  const auto have = static_cast<std::uint32_t>(s.members.size() + idle.size());
  if (!s.members.empty()) {
    if (!s.config.auto_replace || s.members.size() >= s.wanted) return std::nullopt;
    o.reason = fmt::format("back to {} seats after a loss", s.wanted);
  } else if (!s.served_before) {
    if (idle.size() < s.wanted) return std::nullopt;
    o.reason = "first start";
  } else {
    o.reason = "back into service";
  }
  o.ranks = std::min(s.wanted, have);
  if (s.members.empty() && s.served_before)
    while (o.ranks < have && !fits(s, *choose_seats(s, o))) ++o.ranks;
  if (o.ranks == 0) return std::nullopt;
  const auto seats = choose_seats(s, o);
  const auto ok = seats ? fits(s, *seats) : fail(seats.error());
  if (ok) return o;
  if (s.complaint != ok.error().text) {
    s.complaint = ok.error().text;
    log_line(c, o.reason + ": " + s.complaint, true);
    tell(c, "decision", o.reason + ": " + s.complaint);
  }
  return std::nullopt;
}

}  // namespace

void keep(context& c, const operation_status& report) {
  journal_record record{c.s.now_ms, report, c.s.members, c.s.epoch, c.s.last_epoch, {}};
  for (const auto& m : c.s.models) record.versions.push_back(m.last_version);
  c.out.push_back(effect::record{std::move(record)});
}

operation_id enqueue(context& c, order o) {
  o.id = ++c.s.last_operation;
  const auto older = std::ranges::find(c.s.queue, operation_kind::scale, &order::kind);
  if (o.kind == operation_kind::scale && older != c.s.queue.end()) {  // at most one waits, by this very rule
    const order old = *older;
    c.s.queue.erase(older);
    close_order(c, old, "aborted", fmt::format("superseded by operation {}", o.id));
  }
  c.s.queue.push_back(std::move(o));
  const auto report = report_of(c.s, c.s.queue.back());
  tell(c, "operation", fmt::format("operation {} ({}) waits for its turn", report.id, report.kind), &report);
  return c.s.queue.back().id;
}

void begin_next(context& c) {
  // Every round of this loop takes an order off the bounded queue, or begins what the cluster wants by itself.
  while (!c.s.running) {
    if (!c.s.queue.empty()) {
      const order o = c.s.queue.front();
      c.s.queue.pop_front();
      begin(c, o);
      continue;
    }
    auto wish = own_wish(c);
    if (!wish) return;
    wish->id = ++c.s.last_operation;
    begin(c, *wish);
    if (!c.s.running) return;
  }
}

void begin(context& c, order o) {
  c.s.complaint.clear();
  operation op;
  op.began_ms = c.s.now_ms;
  op.report = report_of(c.s, o);
  op.report.first_step = c.s.newest_step;
  op.deadline_ms = c.s.now_ms + o.budget_ms;
  op.what = std::move(o);
  c.s.running = std::move(op);
  log_line(
      c, fmt::format("operation {} ({}) begins: {}", c.op().what.id, to_string(c.op().what.kind), c.op().what.reason));
  if (c.op().what.kind == operation_kind::scale) return begin_scale(c);
  if (c.s.members.empty()) return finish(c, "failed", "nothing is served, so there is nothing to balance");
  c.op().old_members = c.op().new_members = c.s.members;
  c.op().old_epoch = c.s.epoch;
  follow(c, to_program(program::rebalance));
}

void finish(context& c, std::string outcome, std::string reason) {
  refresh_report(c.s);
  auto& op = c.op();
  if (outcome != "done" && op.what.kind == operation_kind::scale)
    c.s.rest_until_ms = c.s.now_ms + 10 * std::uint64_t{c.s.config.command_retry_ms};
  if (outcome == "done" && op.what.kind == operation_kind::rebalance) measure_moves(c.s, op);
  if (op.what.kind == operation_kind::shares) return c.s.running.reset();
  operation_status report = op.report;
  report.outcome = std::move(outcome);
  report.reason = std::move(reason);
  report.phase = "finished";
  report.awaited.clear();
  report.last_step = c.s.newest_step;
  c.s.running.reset();
  remember(c, report);
}

void close_order(context& c, const order& o, const std::string& outcome, const std::string& reason) {
  auto report = report_of(c.s, o);
  report.outcome = outcome;
  report.reason = reason;
  report.phase = "finished";
  remember(c, report);
}

}  // namespace ballast::cluster
