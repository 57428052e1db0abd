#include "cli/report/view.hpp"

#include <algorithm>
#include <numeric>

namespace ballast::report {
namespace {

step step_of(const offline::rebalance& r) {
  return {r.record, r.par_next, r.par_next_max, r.par_planned, r.moves, r.max_receiver};
}

heat_map heat_of(const offline::run& run) {
  heat_map out;
  if (run.rebalances.empty() || run.rebalances.front().load.empty()) return out;
  const auto& first = run.rebalances.front().load;
  out.layers.resize(first.size());
  std::iota(out.layers.begin(), out.layers.end(), 0U);
  out.frames.resize(run.rebalances.size());
  std::iota(out.frames.begin(), out.frames.end(), 0U);
  out.columns = static_cast<std::uint32_t>(first.front().size());
  for (const auto& r : run.rebalances)
    for (const auto& row : r.load)
      for (const double cell : row) out.cells.push_back(static_cast<float>(cell));
  return out;
}

std::vector<float> layer_imbalance_of(const offline::run& run) {
  std::vector<float> out;
  for (std::size_t i = 1; i < run.rebalances.size(); ++i)
    for (const auto& row : run.rebalances[i].load)
      out.push_back(static_cast<float>(*std::max_element(row.begin(), row.end())));
  return out;
}

// Busiest first; among equals the lower number.
void add_busiest(const std::vector<double>& loads, const layer_placement& placed, std::uint32_t top,
                 std::vector<busy_expert>& to) {
  std::vector<std::uint32_t> order(loads.size());
  std::iota(order.begin(), order.end(), 0U);
  std::partial_sort(order.begin(), order.begin() + top, order.end(),
                    [&](auto a, auto b) { return loads[a] != loads[b] ? loads[a] > loads[b] : a < b; });
  const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(loads.size());
  for (std::uint32_t i = 0; i < top; ++i) {
    const auto e = order[i];
    to.push_back({e, static_cast<std::uint32_t>(placed[e].size()), static_cast<float>(mean > 0 ? loads[e] / mean : 1)});
  }
}

busy_experts busiest_of(const offline::run& run, const offline::replay_input& input) {
  const auto& meta = input.recording.meta;
  busy_experts out{std::min(busiest_max, meta.experts), {}};
  for (const auto& r : run.rebalances) {
    for (std::size_t l = 0; l < r.placed.layers.size(); ++l) {
      std::vector<double> loads(meta.experts);
      for (std::uint64_t k = r.record; k < r.record + run.with.interval; ++k)
        for (std::size_t e = 0; e < loads.size(); ++e) loads[e] += input.recording.records[k].tokens[l][e];
      add_busiest(loads, r.placed.layers[l], out.top, out.cells);
    }
  }
  return out;
}

}  // namespace

view view_of(const offline::run& run, const offline::replay_input& input, std::uint32_t source) {
  view out;
  out.source = source;
  out.policy = run.with.policy;
  out.shares = offline::to_string(run.with.shares);
  out.interval = run.with.interval;
  out.redundant = run.redundant;
  out.ranks = input.ranks;
  out.nodes = input.nodes;
  out.trigger = run.with.trigger;
  out.next = run.summary.par_next;
  out.next_p95 = run.summary.par_next_p95;
  out.next_max = run.summary.par_next_max;
  out.planned = run.summary.par_planned;
  out.moved = run.summary.moved;
  out.moves = run.summary.moves;
  for (const auto& r : run.rebalances) out.steps.push_back(step_of(r));
  out.layer_imbalance = layer_imbalance_of(run);
  out.heat = heat_of(run);
  out.busiest = busiest_of(run, input);
  return out;
}

}  // namespace ballast::report
