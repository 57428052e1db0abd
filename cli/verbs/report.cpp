#include "cli/verbs/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <ostream>

#include "cli/offline/held_recording.hpp"
#include "cli/offline/progress.hpp"
#include "cli/render/render.hpp"
#include "cli/report/page.hpp"
#include "policies/formats/output_file.hpp"

namespace ballast {
namespace {

constexpr std::size_t runs_max = 8;

struct gathered {
  std::vector<report::source> sources;
  std::vector<report::view> views;
  std::uint64_t bundle_bytes = 0;
};

status check(const report_options& o) {
  if (o.stats.empty() && o.simulations.empty())
    return fail(errc::invalid_argument, "nothing to show; give --stats FILE or --simulation FILE");
  if (!o.stats.empty() && o.ranks == 0)
    return fail(errc::invalid_argument, "--stats needs --ranks N: the ranks to plan for");
  const auto settings =
      std::max<std::size_t>(1, o.intervals.size()) * o.policies.size() * o.redundant.size() * o.shares.size();
  if (o.stats.size() * settings > runs_max) {
    return fail(errc::invalid_argument,
                fmt::format("{} recordings x {} settings are more than the {} runs that a page holds; compare many "
                            "settings with ballast simulate --json FILE and show that with --simulation FILE",
                            o.stats.size(), settings, runs_max));
  }
  return {};
}

// The even layout for each interval first, then what was asked for.
struct replays {
  std::vector<offline::setting> all;
  std::size_t even = 0;  // so many of them are even layouts
};

result<replays> settings_of(const report_options& o, std::uint32_t recorded_interval) {
  auto intervals = o.intervals;
  if (intervals.empty()) intervals = {recorded_interval != 0 ? recorded_interval : offline::usual_interval};
  replays out;
  for (const auto interval : intervals) out.all.push_back({"static", interval, 0, offline::share_mode::even, false});
  out.even = intervals.size();
  for (const auto& policy : o.policies)
    for (const auto redundant : o.redundant)
      for (const auto& shares : o.shares)
        for (const auto interval : intervals) {
          const auto mode = offline::share_mode_of(shares);
          if (!mode) return fail(mode.error());
          out.all.push_back({policy, interval, redundant, *mode, false});
        }
  return out;
}

status add_recording(const report_options& o, const std::string& file, const screen& to, gathered& all) {
  auto* terminal = to.err_is_terminal ? &to.err : nullptr;
  const auto recording = offline::hold_recording({file, o.stats_format, o.first_dense_layers, o.records}, terminal);
  if (!recording) return fail(recording.error());
  const auto& meta = recording->meta;
  const auto settings = settings_of(o, meta.steps_per_interval);
  if (!settings) return fail(settings.error());
  const auto index = static_cast<std::uint32_t>(all.sources.size());
  const auto name = file == "-" ? "standard input" : std::filesystem::path(file).filename().string();
  all.sources.push_back({name, meta.model, meta.layers, meta.experts, recording->records.size()});
  const offline::replay_input input{*recording, o.ranks, o.nodes, {}, true};
  offline::progress bar(terminal, "runs");
  for (std::size_t done = 0; done < settings->all.size(); ++done) {
    const auto run = offline::replay(input, settings->all[done]);
    if (!run) return fail(run.error());
    auto view = report::view_of(*run, input, index);
    view.even_layout = done < settings->even;
    all.views.push_back(std::move(view));
    bar.at(all.views.size(), settings->all.size() * o.stats.size());
  }
  return {};
}

status add_simulation(const std::string& file, gathered& all) {
  auto read = report::read_simulation(file);
  if (!read) return fail(read.error());
  const auto index = static_cast<std::uint32_t>(all.sources.size());
  all.sources.push_back(std::move(read->source));
  if (all.bundle_bytes == 0) all.bundle_bytes = read->bundle_bytes;
  for (auto& view : read->views) {
    view.source = index;
    all.views.push_back(std::move(view));
  }
  return {};
}

}  // namespace

status verbs::report(const report_options& options, const screen& to) {
  if (auto ok = check(options); !ok) return ok;
  const auto bytes = offline::bundle_bytes(options.bundle);
  if (!bytes) return fail(bytes.error());
  gathered all;
  all.bundle_bytes = *bytes;
  for (const auto& file : options.stats)
    if (auto ok = add_recording(options, file, to, all); !ok) return ok;
  for (const auto& file : options.simulations)
    if (auto ok = add_simulation(file, all); !ok) return ok;
  auto data = report::page_data_of(std::move(all.sources), std::move(all.views));
  data.bundle_bytes = all.bundle_bytes;
  if (std::any_of(data.views.begin(), data.views.end(), [](const auto& v) { return v.even_layout && v.heat.empty(); }))
    data.notes.emplace_back("A simulation's even layout is judged by single records, its runs by whole intervals.");
  const auto page = report::page_of(data);
  if (options.out == "-") {
    to.out << page;
    return {};
  }
  if (auto ok = policies::write_whole(options.out, page); !ok) return ok;
  to.out << fmt::format("{}: {} layouts and runs, {}\n", options.out, data.views.size(), text::bytes(page.size()));
  for (const auto& note : data.notes) to.out << note << "\n";
  return {};
}

}  // namespace ballast
