#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

constexpr std::size_t operations_shown = 32;

std::uint32_t replicas_on(const cluster_state& s, seat_id seat) {
  std::uint32_t n = 0;
  for (const auto& m : s.models) {
    if (!m.current) continue;
    for (const auto& layer : m.current->layers)
      for (const auto& replicas : layer)
        n += static_cast<std::uint32_t>(std::ranges::count(replicas, seat, &replica::seat));
  }
  return n;
}

model_status status_of(const cluster_state& s, model_index index) {
  const auto& m = s.models[index];
  const auto now = imbalance_of(s, m, index);
  return {m.description.name,
          m.current ? m.current->version : 0,
          now.mean,
          now.max,
          now.min,
          m.imbalance_before,
          m.window.steps(),
          m.description.hidden,
          observed_imbalance(s, m, index),
          m.imbalance_shares,
          m.share_updates,
          m.share_skips};
}

}  // namespace

seat_status status_of(const cluster_state& s, const seat_record& r) {
  seat_status out;
  out.seat = r.id;
  out.incarnation = r.incarnation;
  out.agent = r.agent;
  out.node = r.node < s.nodes.size() ? s.nodes[r.node] : "";
  out.state = to_string(r.state);
  if (const auto agent = s.agents.find(r.agent); agent != s.agents.end()) out.front_end = agent->second.front_end;
  out.step = r.beat.step;
  out.sessions = r.beat.sessions;
  out.replicas = contains(s.members, r.id) ? replicas_on(s, r.id) : 0;
  out.step_ms = r.beat.step_ms;
  out.pages = r.beat.pages;
  out.corrupt = r.beat.corrupt;
  return out;
}

operation_status report_of(const cluster_state& s, const order& o) {
  operation_status out;
  out.id = o.id;
  out.kind = to_string(o.kind);
  if (o.kind == operation_kind::rebalance && o.models.size() == 1)
    out.model = s.models[o.models.front()].description.name;
  out.target = o.target;
  out.phase = "queued";
  out.outcome = "running";
  out.reason = o.reason;
  return out;
}

void refresh_report(cluster_state& s) {
  if (!s.running) return;
  auto& op = *s.running;
  op.report.phase = op.program.empty() ? "finishing" : std::string(row_of(op.program.front()).name);
  if (op.undoing) op.report.phase = "undoing: " + op.report.phase;
  if (op.pause_until_ms != 0) op.report.phase = "pausing before another try";
  if (!op.reason.empty()) op.report.reason = op.reason;
  op.report.awaited.clear();
  for (const auto& a : op.now.awaited) op.report.awaited.push_back(a.seat);
  op.report.seconds = static_cast<double>(s.now_ms - op.began_ms) / 1000.0;
  op.report.last_step = s.newest_step;
}

operation_list operations_of(const cluster_state& s) {
  operation_list out;
  if (s.running && s.running->what.kind != operation_kind::shares) {
    auto copy = s.running->report;
    copy.seconds = static_cast<double>(s.now_ms - s.running->began_ms) / 1000.0;
    copy.awaited.clear();
    for (const auto& a : s.running->now.awaited) copy.awaited.push_back(a.seat);
    out.operations.push_back(std::move(copy));
  }
  for (const auto& o : s.queue) out.operations.push_back(report_of(s, o));
  for (std::size_t i = 0; i < s.history.size() && i < operations_shown; ++i) out.operations.push_back(s.history[i]);
  return out;
}

cluster_status status_of(const cluster_state& s) {
  cluster_status out;
  out.epoch = s.epoch;
  out.steps = s.newest_step;
  for (model_index m = 0; m < s.models.size(); ++m) out.models.push_back(status_of(s, m));
  for (const auto& r : s.seats) out.seats.push_back(status_of(s, r));
  out.operations = operations_of(s).operations;
  out.event_sequence = s.last_event;
  out.refused.emplace_back().process = "coordinator";
  out.refused.back().replayed = s.replayed;
  for (const auto& [name, agent] : s.agents) {
    out.refused.push_back(agent.refused);
    out.refused.back().process = name;
  }
  return out;
}

void tell(context& c, std::string kind, std::string text, const operation_status* operation,
          std::vector<seat_status> seats) {
  ballast::event e;
  e.sequence = ++c.s.last_event;
  e.kind = std::move(kind);
  e.text = std::move(text);
  if (operation) e.operation.push_back(*operation);
  e.seats = std::move(seats);
  c.out.push_back(effect::publish{std::move(e)});
}

void log_line(context& c, std::string text, bool warning) {
  c.out.push_back(effect::log_line{warning, std::move(text)});
}

void note_replay(context& c, const std::string& what) {
  ++c.s.replayed;
  const complaints::clock::time_point now{std::chrono::milliseconds(c.s.now_ms)};
  if (const auto times = c.s.replays.add(now))
    log_line(c, fmt::format("not obeyed ({} since the last report): {}", *times, what), true);
}

}  // namespace ballast::cluster
