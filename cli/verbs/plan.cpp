// `ballast plan`: recorded loads in, a placement out.
#include <fmt/format.h>

#include <charconv>
#include <ostream>

#include "cli/offline/plan_report.hpp"
#include "cli/offline/progress.hpp"
#include "cli/verbs/offline.hpp"
#include "policies/formats/output_file.hpp"
#include "policies/formats/placement_file.hpp"

namespace ballast {
namespace {

using policies::file_format;

result<file_format> format_or_automatic(const std::string& name) {
  if (name.empty()) return file_format::automatic;
  return policies::file_format_of(name);
}

// "all" is 0.
result<std::uint64_t> interval_of(const std::string& text) {
  if (text == "all") return std::uint64_t{0};
  std::uint64_t records = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), records);
  if (problem != std::errc{} || end != text.data() + text.size() || records == 0)
    return fail(errc::invalid_argument, fmt::format("--interval {}: give a number of records, or all", text));
  return records;
}

result<policies::recorded_file> read_recording(const plan_verb_options& options, const screen& to) {
  const auto format = format_or_automatic(options.recording.stats_format);
  if (!format) return fail(format.error());
  const auto interval = interval_of(options.interval);
  if (!interval) return fail(interval.error());
  offline::progress bar(to.err_is_terminal ? &to.err : nullptr, "records read");
  return policies::read_recorded_loads(options.recording.stats, *interval,
                                       {.first_dense_layers = options.recording.first_dense_layers, .format = *format},
                                       [&](std::uint64_t records) { bar.at(records, 0); });
}

result<std::optional<policies::expert_map>> read_current(const plan_verb_options& options) {
  if (options.from_map.empty()) return std::optional<policies::expert_map>{};
  const auto format = format_or_automatic(options.from_format);
  if (!format) return fail(format.error());
  auto read =
      policies::read_expert_map(options.from_map, {*format, options.from_ranks, options.recording.first_dense_layers});
  if (!read) return fail(read.error());
  if (read->map.ranks == 0) {
    read->map.ranks = options.topology.ranks;
    if (read->map.slots() % read->map.ranks != 0) {
      return fail(errc::invalid_argument,
                  fmt::format("{}: {} slots a layer are not for {} ranks; say for how many with --from-ranks",
                              options.from_map, read->map.slots(), read->map.ranks));
    }
  }
  return std::optional<policies::expert_map>(std::move(read->map));
}

// Slots as they are, where nothing else was said.
offline::topology_options settled(offline::topology_options topology, const std::optional<policies::expert_map>& from,
                                  const policies::recorded_file& recording) {
  if (topology.redundant || topology.slots_per_rank) return topology;
  if (from && from->ranks == topology.ranks) {
    topology.slots_per_rank = from->slots() / from->ranks;
  } else {
    topology.redundant = recording.meta.redundant;
  }
  return topology;
}

result<std::string> placement_text(const offline::plan_report& report, const plan_verb_options& options,
                                   const load_matrix& loads, std::uint32_t first_layer) {
  const auto format = policies::file_format_of(options.format);
  if (!format) return fail(format.error());
  auto map = policies::map_of(report.after, report.meta.experts, report.on.seats);
  if (!map) return fail(map.error());
  map->model = report.meta.model;
  map->fingerprint = report.meta.fingerprint;
  map->first_layer = first_layer;
  if (*format != file_format::ballast) policies::fill_empty_slots(*map, loads);
  return policies::text_of(*map, *format, options.recording.first_dense_layers);
}

}  // namespace

status verbs::plan(const plan_verb_options& options, const screen& to) {
  if (auto known = policies::file_format_of(options.format); !known) return fail(known.error());
  if (options.shares == "solved" && options.format != "ballast")
    return fail(
        errc::invalid_argument,
        fmt::format("--shares solved: {} splits tokens evenly; only ballast's form has shares", options.format));
  if (options.recording.stats == "-" && options.from_map == "-")
    return fail(errc::invalid_argument,
                "loads and placement cannot both come from standard input; name a file for one");
  auto from = read_current(options);
  if (!from) return fail(from.error());
  auto recording = read_recording(options, to);
  if (!recording) return fail(recording.error());
  if (*from) {
    if (auto ok = offline::check_same_model(**from, recording->meta); !ok) return ok;
  }
  const auto bytes = offline::bundle_bytes(options.bundle);
  if (!bytes) return fail(bytes.error());
  auto on = offline::topology_of(settled(options.topology, *from, *recording), recording->meta.experts);
  if (!on) return fail(on.error());
  const auto first_layer = *from ? (*from)->first_layer : 0;
  const auto loads = recording->recorded.loads;
  const auto report = offline::make_plan({std::move(*recording), std::move(*on), options.policy, std::move(*from),
                                          options.threads, options.shares == "solved", *bytes});
  if (!report) return fail(report.error());
  const auto text = placement_text(*report, options, loads, first_layer);
  if (!text) return fail(text.error());
  const auto shown = options.json ? offline::json_of(*report) + "\n" : offline::text_of(*report);
  if (!options.out.empty() && options.out != "-") {
    if (auto ok = policies::write_whole(options.out, *text); !ok) return ok;
    to.out << shown;
    return {};
  }
  if (options.out.empty() && (options.json || to.out_is_terminal)) {
    to.out << shown;
    if (!options.json) to.out << "\nthe placement itself: --out FILE, or --out - to see it here\n";
    return {};
  }
  to.err << shown;
  to.out << *text;
  return {};
}

}  // namespace ballast
