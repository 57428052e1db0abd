// `ballast simulate`: recorded loads replayed through the planner, one row for each setting.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <thread>

#include "cli/offline/held_recording.hpp"
#include "cli/offline/progress.hpp"
#include "cli/offline/simulation_report.hpp"
#include "cli/verbs/offline.hpp"
#include "policies/formats/output_file.hpp"

namespace ballast {
namespace {

constexpr double usual_steps_per_record = 100;

// Steps of a record, if the recording counts steps and not records.
double steps_per_record(const policies::load_recording& recording) {
  const auto& records = recording.records;
  if (records.size() < 2 || records.back().step <= records.front().step) return usual_steps_per_record;
  const double steps =
      static_cast<double>(records.back().step - records.front().step) / static_cast<double>(records.size() - 1);
  return steps > 1 ? steps : usual_steps_per_record;
}

result<std::vector<offline::setting>> settings_of(const simulate_options& options, const policies::load_meta& meta) {
  auto policies_asked = options.policies;
  if (policies_asked == std::vector<std::string>{"all"}) policies_asked = policies::policy_names();
  auto intervals = options.intervals;
  if (intervals.empty()) intervals = {meta.steps_per_interval != 0 ? meta.steps_per_interval : offline::usual_interval};
  std::vector<offline::setting> out;
  for (const auto& policy : policies_asked)
    for (const auto redundant : options.redundant)
      for (const auto& shares : options.shares)
        for (const auto interval : intervals)
          for (const auto& trigger : options.trigger) {
            const auto mode = offline::share_mode_of(shares);
            if (!mode) return fail(mode.error());
            out.push_back({policy, interval, redundant, *mode, trigger == "on"});
          }
  return out;
}

}  // namespace

status verbs::simulate(const simulate_options& options, const screen& to) {
  const auto bytes = offline::bundle_bytes(options.bundle);
  if (!bytes) return fail(bytes.error());
  const auto& from = options.recording;
  const auto recording =
      offline::hold_recording({from.stats, from.stats_format, from.first_dense_layers, options.records},
                              to.err_is_terminal ? &to.err : nullptr);
  if (!recording) return fail(recording.error());
  const auto settings = settings_of(options, recording->meta);
  if (!settings) return fail(settings.error());
  offline::replay_input input{*recording, options.ranks, options.nodes, options.cost, options.with_load};
  input.cost.bundle_bytes = *bytes;
  if (input.cost.steps_per_record == 0) input.cost.steps_per_record = steps_per_record(*recording);
  const auto threads = options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  auto runs = [&] {
    offline::progress bar(to.err_is_terminal ? &to.err : nullptr, "settings");
    return offline::replay_all(input, *settings, threads, [&](std::uint64_t done) { bar.at(done, settings->size()); });
  }();
  if (!runs) return fail(runs.error());
  if (options.json_file == "-") {
    to.out << offline::json_of(input, options.recording.stats, *runs) << "\n";
    return {};
  }
  if (!options.json_file.empty()) {
    const auto text = offline::json_of(input, options.recording.stats, *runs) + "\n";
    if (auto ok = policies::write_whole(options.json_file, text); !ok) return ok;
  }
  to.out << offline::text_of(input, *runs);
  return {};
}

}  // namespace ballast
