#include <fmt/format.h>

#include "cli/render/render.hpp"
#include "cli/render/table.hpp"

namespace ballast::text {
namespace {

std::string ratio(double value) { return value > 0 ? fmt::format("{:.3f}", value) : "-"; }

std::vector<std::string> cells_of(const operation_status& op) {
  const auto what = op.kind == "rebalance" ? op.model : seats(op.target);
  const auto why = op.reason.empty() && !op.awaited.empty() ? fmt::format("awaits {}", seats(op.awaited)) : op.reason;
  return {fmt::to_string(op.id),
          op.kind,
          what,
          op.phase,
          op.outcome,
          fmt::format("{:.2f}", op.seconds),
          fmt::to_string(op.pages_copied),
          bytes(op.bytes_moved),
          why};
}

// Processes that refused something.
std::string text_of(const std::vector<refusal_counts>& all) {
  table t({"process", "unknown key", "handshake", "unfinished", "cut off", "malformed", "forbidden", "too many",
           "replayed"});
  for (const auto& r : all) {
    if (refusal_counts none{r.process}; r == none) continue;
    t.row({r.process, fmt::to_string(r.unknown_key), fmt::to_string(r.handshake), fmt::to_string(r.unfinished),
           fmt::to_string(r.cut_off), fmt::to_string(r.malformed), fmt::to_string(r.forbidden),
           fmt::to_string(r.too_many), fmt::to_string(r.replayed)});
  }
  return t.empty() ? "" : t.text();
}

}  // namespace

std::string bytes(std::uint64_t count) {
  if (count < 1024) return fmt::format("{} B", count);
  double value = static_cast<double>(count);
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) value /= 1024, ++unit;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string seats(const std::vector<seat_id>& ids) {
  std::string out;
  for (const auto id : ids) {
    if (!out.empty()) out += ',';
    out += fmt::to_string(index_of(id));
  }
  return out;
}

std::string of(const std::vector<operation_status>& operations) {
  table t({"id", "kind", "target", "phase", "outcome", "seconds", "pages", "moved", "reason"});
  for (const auto& op : operations) t.row(cells_of(op));
  return t.empty() ? "no operations\n" : t.text();
}

std::string of(const operation_status& op) {
  std::string line = fmt::format("operation {} {} {}: {}", op.id, op.kind,
                                 op.kind == "rebalance" ? op.model : seats(op.target), op.outcome);
  if (op.outcome == "running") line += fmt::format(", {}", op.phase);
  if (!op.awaited.empty() && op.outcome == "running") line += fmt::format(", awaits seats {}", seats(op.awaited));
  line += fmt::format(" ({:.2f} s, {} pages, {})", op.seconds, op.pages_copied, bytes(op.bytes_moved));
  if (!op.reason.empty()) line += fmt::format(": {}", op.reason);
  return line + "\n";
}

std::string of(const cluster_status& all) {
  std::size_t active = 0;
  for (const auto& seat : all.seats) active += seat.state == "active" ? 1 : 0;
  std::string out =
      fmt::format("epoch {}, step {}, {} of {} seats active\n\n", all.epoch, all.steps, active, all.seats.size());
  table seats_table({"seat", "state", "agent", "node", "inc", "step", "sessions", "replicas", "pages", "corrupt",
                     "step ms", "front end"});
  for (const auto& s : all.seats) {
    seats_table.row({fmt::to_string(index_of(s.seat)), s.state, s.agent, s.node, fmt::to_string(s.incarnation),
                     fmt::to_string(s.step), fmt::to_string(s.sessions), fmt::to_string(s.replicas),
                     fmt::to_string(s.pages), fmt::to_string(s.corrupt), fmt::format("{:.2f}", s.step_ms),
                     s.front_end});
  }
  if (!seats_table.empty()) out += seats_table.text() + "\n";
  table models({"model", "version", "imbalance mean", "max", "min", "before", "observed", "by shares", "share updates",
                "skipped", "window steps"});
  for (const auto& m : all.models) {
    models.row({m.name, fmt::to_string(m.version), ratio(m.imbalance_mean), ratio(m.imbalance_max),
                ratio(m.imbalance_min), ratio(m.imbalance_before), ratio(m.imbalance_observed),
                ratio(m.imbalance_shares), fmt::to_string(m.share_updates), fmt::to_string(m.share_skips),
                fmt::to_string(m.window_steps)});
  }
  if (!models.empty()) out += models.text() + "\n";
  if (const auto refused = text_of(all.refused); !refused.empty()) out += "refused:\n" + refused + "\n";
  return out + of(all.operations);
}

std::string of(const rebalance_preview& p) {
  return fmt::format("{}: imbalance {} -> {}, {} moves, {}, {} waves; {}{}\n", p.model, ratio(p.imbalance_before),
                     ratio(p.imbalance_after), p.moves, bytes(p.bytes), p.waves, p.pays ? "pays" : "does not pay",
                     p.explanation.empty() ? "" : fmt::format(": {}", p.explanation));
}

std::string of(const event& news) {
  std::string line = fmt::format("{:>6}  {:<10} {}", news.sequence, news.kind, news.text);
  for (const auto& seat : news.seats) line += fmt::format("  [seat {} {}]", index_of(seat.seat), seat.state);
  return line + "\n";
}

}  // namespace ballast::text
