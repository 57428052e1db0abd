#include "cli/offline/simulation_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/render/render.hpp"
#include "cli/render/table.hpp"

namespace ballast::offline {
namespace {

using document = nlohmann::ordered_json;

std::string ratio(double value) { return fmt::format("{:.3f}", value); }
std::string percent(double part) { return fmt::format("{:.1f}%", 100 * part); }

double gb(const replay_input& input, std::uint64_t slots) {
  return static_cast<double>(slots) * static_cast<double>(input.cost.bundle_bytes) / 1e9;
}

std::string named(const setting& with, std::uint32_t redundant) {
  return fmt::format("{}, interval {}, {} redundant, {} shares{}", with.policy, with.interval, redundant,
                     to_string(with.shares), with.trigger ? ", trigger" : "");
}

// What a run's summary and each of its rebalances say alike.
template <class Figures>
void add_balance(document& d, const Figures& f) {
  d["par_next"] = f.par_next;
  d["par_next_p95"] = f.par_next_p95;
  d["par_next_max"] = f.par_next_max;
  d["par_record"] = f.par_record;
  d["par_static"] = f.par_static;
}

template <class Figures>
void add_moves(document& d, const replay_input& input, const Figures& f) {
  d["moves"] = f.moves;
  d["moves_across_nodes"] = f.across_nodes;
  if (input.cost.bundle_bytes == 0) return;
  d["gb"] = gb(input, f.moves);
  d["gb_across_nodes"] = gb(input, f.across_nodes);
}

document document_of(const replay_input& input, const run_summary& s) {
  document d{{"rebalances", s.rebalances}, {"skipped", s.skipped}, {"par_planned", s.par_planned}};
  add_balance(d, s);
  d["moved"] = s.moved;
  add_moves(d, input, s);
  d["step_ms"] = s.step_ms;
  d["step_ms_static"] = s.step_ms_static;
  d["gain"] = s.gain;
  d["cost"] = s.cost;
  d["plan_ms"] = s.plan_ms;
  return d;
}

document document_of(const replay_input& input, const rebalance& r) {
  document d{
      {"record", r.record}, {"par_planned", r.par_planned}, {"par_before", r.par_before}, {"par_stay", r.par_stay}};
  add_balance(d, r);
  add_moves(d, input, r);
  d["max_receiver"] = r.max_receiver;
  d["layers_moved"] = r.layers_moved;
  d["copy_s"] = r.copy_s;
  d["step_ms"] = r.step_ms;
  d["pays"] = r.pays;
  return d;
}

// Numbers of heat maps need no more than four digits.
document loads_of(const run& one) {
  document all = document::array();
  for (const auto& r : one.rebalances) {
    document layers = document::array();
    for (const auto& row : r.load) {
      document cells = document::array();
      for (const double cell : row) cells.push_back(std::round(cell * 1e3) / 1e3);
      layers.push_back(std::move(cells));
    }
    all.push_back(std::move(layers));
  }
  return all;
}

}  // namespace

std::string text_of(const replay_input& input, const std::vector<run>& runs) {
  table t({"policy", "interval", "redundant", "shares", "trigger", "next mean", "p95", "max", "record", "planned",
           "moved", "moves", "moved bytes", "skipped", "step ms", "gain", "plan ms"});
  for (const auto& one : runs) {
    const auto& s = one.summary;
    t.row({one.with.policy, fmt::to_string(one.with.interval), fmt::to_string(one.redundant),
           to_string(one.with.shares), one.with.trigger ? "on" : "off", ratio(s.par_next), ratio(s.par_next_p95),
           ratio(s.par_next_max), ratio(s.par_record), ratio(s.par_planned), percent(s.moved), fmt::to_string(s.moves),
           input.cost.bundle_bytes == 0 ? "-" : text::bytes(s.moves * input.cost.bundle_bytes),
           fmt::to_string(s.skipped), fmt::format("{:.2f}", s.step_ms), percent(s.gain),
           fmt::format("{:.1f}", s.plan_ms)});
  }
  auto out = t.text();
  const auto best = std::max_element(runs.begin(), runs.end(),
                                     [](const auto& a, const auto& b) { return a.summary.gain < b.summary.gain; });
  if (runs.size() > 1) out += fmt::format("\nmost gained: {}\n", named(best->with, best->redundant));
  out +=
      "next, record, planned: max / mean rank load in the following interval, in single records, in the interval "
      "planned from\n";
  out += "gain: step time saved against an even layout without redundant experts, copies included\n";
  if (input.cost.bundle_bytes == 0)
    out += "copies count as free: give --bundle-bytes, or --hidden and --intermediate\n";
  return out;
}

std::string json_of(const replay_input& input, const std::string& recording, const std::vector<run>& runs) {
  const auto& meta = input.recording.meta;
  document d{{"recording", recording},
             {"model", meta.model},
             {"layers", meta.layers},
             {"experts", meta.experts},
             {"records", input.recording.records.size()},
             {"cost_model",
              {{"bundle_bytes", input.cost.bundle_bytes},
               {"link_gbps", input.cost.link_gbps},
               {"step_ms", input.cost.step_ms},
               {"steps_per_record", input.cost.steps_per_record},
               {"imbalance_share", input.cost.imbalance_share},
               {"slowdown", input.cost.slowdown}}}};
  document all = document::array();
  for (const auto& one : runs) {
    document r{{"policy", one.with.policy},   {"interval", one.with.interval},
               {"redundant", one.redundant},  {"shares", to_string(one.with.shares)},
               {"ranks", input.ranks},        {"nodes", input.nodes},
               {"trigger", one.with.trigger}, {"summary", document_of(input, one.summary)}};
    document rows = document::array();
    for (const auto& row : one.rebalances) rows.push_back(document_of(input, row));
    r["rebalances"] = std::move(rows);
    if (input.with_load) r["load"] = loads_of(one);
    all.push_back(std::move(r));
  }
  d["runs"] = std::move(all);
  return d.dump(-1, ' ', false, document::error_handler_t::replace);
}

}  // namespace ballast::offline
