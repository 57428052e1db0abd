#include "cli/offline/plan_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/offline/share_modes.hpp"
#include "cli/render/render.hpp"
#include "cli/render/table.hpp"

namespace ballast::offline {
namespace {

using policies::imbalance;

std::string shape(std::size_t layers, std::size_t experts) {
  return fmt::format("{} layers x {} experts", layers, experts);
}

// Loads of single parts, layers and parts together.
spread over_parts(const placement& p, const policies::recorded_loads& recorded,
                  const std::vector<policies::seat_info>& seats) {
  std::vector<double> all;
  for (const auto& part : recorded.history.parts) {
    const auto layers = imbalance(p, part, seats).layers;
    all.insert(all.end(), layers.begin(), layers.end());
  }
  return spread_of(std::move(all));
}

std::vector<double> observed_imbalance(const load_matrix& rank_load) {
  std::vector<double> out;
  for (const auto& row : rank_load) {
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    const double peak = *std::max_element(row.begin(), row.end());
    out.push_back(sum > 0 ? peak * static_cast<double>(row.size()) / sum : 1);
  }
  return out;
}

struct standing {
  placement now;
  std::vector<policies::seat_info> seats;
  std::string is;
};

// The placement in use and its ranks; nullopt: there is none that fits the recording's shape.
result<std::optional<standing>> current_of(const plan_input& input) {
  const bool given = input.from.has_value();
  auto map = given ? input.from : input.recording.map;
  if (!map) return std::optional<standing>{};
  if (map->ranks == 0) map->ranks = static_cast<std::uint32_t>(input.on.seats.size());
  if (auto ok = check_same_model(*map, input.recording.meta); !ok) return fail(ok.error());
  auto placed = placement_of(*map);
  if (!placed && given) return fail(placed.error());
  if (!placed) return std::optional<standing>{};  // a recording of some other number of ranks
  standing out{std::move(*placed), {}, given ? "the given placement" : "the recorded placement"};
  for (std::uint32_t r = 0; r < map->ranks; ++r) {
    const auto node = r < input.on.seats.size() ? input.on.seats[r].node : input.on.nodes - 1;
    out.seats.push_back({seat_id{r}, node, 1.0, {map->slots() / map->ranks, 0}});
  }
  return std::optional<standing>(std::move(out));
}

result<standing> even_layout(const plan_input& input) {
  auto problem = problem_for(input.on, input.recording.meta.layers, input.recording.meta.experts, 1);
  auto placed = policies::place("static", problem);
  if (!placed) return fail(placed.error());
  return standing{std::move(*placed), input.on.seats, "an even layout"};
}

nlohmann::ordered_json document_of(const spread& s) { return {{"mean", s.mean}, {"p95", s.p95}, {"max", s.max}}; }

std::vector<std::string> cells(const std::string& what, const spread& s) {
  return {what, fmt::format("{:.3f}", s.mean), fmt::format("{:.3f}", s.p95), fmt::format("{:.3f}", s.max)};
}

std::string traffic_text(const plan_report& r) {
  const bool sized = r.bundle_bytes != 0;
  std::vector<std::string> heads = {"node", "slots received", "from other nodes"};
  if (sized) heads.insert(heads.end(), {"bytes", "bytes from other nodes"});
  table traffic(heads);
  for (std::size_t n = 0; n < r.moves.nodes.size(); ++n) {
    const auto& node = r.moves.nodes[n];
    std::vector<std::string> row = {fmt::to_string(n), fmt::to_string(node.received), fmt::to_string(node.from_others)};
    if (sized) {
      row.push_back(text::bytes(node.received * r.bundle_bytes));
      row.push_back(text::bytes(node.from_others * r.bundle_bytes));
    }
    traffic.row(std::move(row));
  }
  return fmt::format("\n{}", traffic.text());
}

}  // namespace

spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = static_cast<std::size_t>(std::max(0.0, std::ceil(0.95 * static_cast<double>(values.size())) - 1));
  return {std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()), values[at],
          values.back()};
}

status check_same_model(const policies::expert_map& map, const policies::load_meta& meta) {
  if (map.layers.size() == meta.layers && map.experts == meta.experts) return {};
  return fail(errc::invalid_argument,
              fmt::format("the placement has {}, the recording {}; name files of one model",
                          shape(map.layers.size(), map.experts), shape(meta.layers, meta.experts)));
}

result<plan_report> make_plan(const plan_input& input) {
  const auto& recorded = input.recording.recorded;
  auto current = current_of(input);
  if (!current) return fail(current.error());
  plan_report out;
  out.policy = !input.policy.empty() ? input.policy : *current ? "economy" : "fresh";
  out.on = input.on;
  out.meta = input.recording.meta;
  out.records = recorded.records;
  out.bundle_bytes = input.bundle_bytes;
  if (!input.on.note.empty()) out.notes.push_back(input.on.note);
  auto problem = problem_for(input.on, out.meta.layers, out.meta.experts, out.meta.groups);
  problem.loads = recorded.loads;
  problem.history = recorded.history;
  if (*current) problem.current = (*current)->now;
  if (input.threads > 1 && out.policy != "deepseek") {
    auto options = policies::policy_options(out.policy);
    if (!options) return fail(options.error());
    options->threads = input.threads;
    problem.options = *options;
  }
  problem.shares_follow = input.solve_shares;
  auto placed = policies::place(out.policy, problem, &out.notes);
  if (placed && input.solve_shares) placed = with_solved_shares(std::move(*placed), problem.loads, input.on.seats);
  if (!placed) return fail(placed.error());
  out.after = std::move(*placed);
  auto before = *current ? result<standing>(std::move(**current)) : even_layout(input);
  if (!before) return fail(before.error());
  out.before = std::move(before->now);
  out.before_is = before->is;
  out.before_sum = spread_of(imbalance(out.before, recorded.loads, before->seats).layers);
  out.after_sum = spread_of(imbalance(out.after, recorded.loads, input.on.seats).layers);
  out.before_parts = over_parts(out.before, recorded, before->seats);
  out.after_parts = over_parts(out.after, recorded, input.on.seats);
  out.parts = static_cast<std::uint32_t>(recorded.history.parts.size());
  if (!input.recording.rank_load.empty()) out.observed = spread_of(observed_imbalance(input.recording.rank_load));
  auto everyone = input.on.seats;
  if (before->seats.size() > everyone.size())
    everyone.insert(everyone.end(), before->seats.begin() + static_cast<std::ptrdiff_t>(everyone.size()),
                    before->seats.end());
  out.moves = count_moves(out.before, out.after, everyone);
  return out;
}

std::string text_of(const plan_report& r) {
  const auto slots = std::uint64_t{r.meta.layers} * r.on.slots_per_rank * r.on.seats.size();
  auto out = fmt::format("{}{} layers x {} experts, {} records; {} ranks of {} slots on {} ({} redundant), {}\n\n",
                         r.meta.model.empty() ? "" : r.meta.model + ": ", r.meta.layers, r.meta.experts, r.records,
                         r.on.seats.size(), r.on.slots_per_rank,
                         r.on.nodes == 1 ? std::string("one node") : fmt::format("{} nodes", r.on.nodes),
                         r.on.redundant, r.policy);
  table balance({"imbalance (max / mean rank load)", "mean", "p95", "max"});
  if (r.observed) balance.row(cells("observed by the recording", *r.observed));
  balance.row(cells(fmt::format("before: {}", r.before_is), r.before_sum));
  balance.row(cells("after", r.after_sum));
  if (r.parts > 1) {
    balance.row(cells(fmt::format("before, in {} parts of the recording", r.parts), r.before_parts));
    balance.row(cells("after, in the same parts", r.after_parts));
  }
  out += balance.text();
  out += '\n';
  out +=
      fmt::format("moves: {} of {} slots ({:.1f} %) in {} of {} layers, {} on the busiest rank; {} across nodes{}\n",
                  r.moves.moves, slots, 100.0 * static_cast<double>(r.moves.moves) / static_cast<double>(slots),
                  r.moves.layers, r.meta.layers, r.moves.max_receiver, r.moves.across_nodes,
                  r.bundle_bytes == 0 ? "" : fmt::format("; {} in all", text::bytes(r.moves.moves * r.bundle_bytes)));
  if (r.on.nodes > 1) out += traffic_text(r);
  for (const auto& note : r.notes) out += fmt::format("note: {}\n", note);
  return out;
}

std::string json_of(const plan_report& r) {
  using document = nlohmann::ordered_json;
  document d{{"model", r.meta.model},
             {"layers", r.meta.layers},
             {"experts", r.meta.experts},
             {"records", r.records},
             {"ranks", r.on.seats.size()},
             {"nodes", r.on.nodes},
             {"slots_per_rank", r.on.slots_per_rank},
             {"redundant", r.on.redundant},
             {"policy", r.policy},
             {"before", r.before_is},
             {"imbalance_before", document_of(r.before_sum)},
             {"imbalance_after", document_of(r.after_sum)},
             {"parts", r.parts},
             {"imbalance_before_parts", document_of(r.before_parts)},
             {"imbalance_after_parts", document_of(r.after_parts)}};
  if (r.observed) d["imbalance_observed"] = document_of(*r.observed);
  d["moves"] = r.moves.moves;
  d["moves_across_nodes"] = r.moves.across_nodes;
  d["max_receiver"] = r.moves.max_receiver;
  d["layers_moved"] = r.moves.layers;
  if (r.bundle_bytes != 0) d["bytes"] = r.moves.moves * r.bundle_bytes;
  document nodes = document::array();
  for (const auto& node : r.moves.nodes)
    nodes.push_back({{"received", node.received}, {"from_others", node.from_others}});
  d["traffic"] = std::move(nodes);
  d["notes"] = r.notes;
  return d.dump(-1, ' ', false, document::error_handler_t::replace);
}

}  // namespace ballast::offline
