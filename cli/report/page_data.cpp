#include "cli/report/page_data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "cli/report/thinning.hpp"

namespace ballast::report {
namespace {

// What sets sources apart: models where they differ, else files, else their numbers.
std::vector<std::string> names_of(const std::vector<source>& sources) {
  const auto distinct = [&](auto name) {
    std::set<std::string> seen;
    for (const auto& s : sources) seen.insert(name(s));
    return seen.size() == sources.size() && !seen.contains("");
  };
  const auto model = [](const source& s) { return s.model; };
  const auto file = [](const source& s) { return s.file; };
  std::vector<std::string> out;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    out.push_back(distinct(model)  ? model(sources[i])
                  : distinct(file) ? file(sources[i])
                                   : fmt::format("recording {}", i + 1));
  }
  return out;
}

void name_views(const std::vector<source>& sources, std::vector<view>& views, bool even_layouts) {
  const auto source_names = names_of(sources);
  const auto differs = [&](auto field) {
    std::set<decltype(field(views.front()))> seen;
    for (const auto& v : views)
      if (v.even_layout == even_layouts) seen.insert(field(v));
    return seen.size() > 1;
  };
  const bool source = differs([](const view& v) { return v.source; });
  const bool interval = differs([](const view& v) { return v.interval; });
  const bool redundant = differs([](const view& v) { return v.redundant; });
  const bool ranks = differs([](const view& v) { return std::pair(v.ranks, v.nodes); });
  const bool shares = differs([](const view& v) { return v.shares; });
  const bool trigger = differs([](const view& v) { return v.trigger; });
  for (auto& v : views) {
    if (v.even_layout != even_layouts) continue;
    v.name = even_layouts ? "even layout" : v.policy;
    if (source) v.name += ", " + source_names[v.source];
    if (interval) v.name += fmt::format(", interval {}", v.interval);
    if (redundant) v.name += fmt::format(", {} redundant", v.redundant);
    if (ranks)
      v.name += fmt::format(", {} ranks on {}", v.ranks, v.nodes == 1 ? "1 node" : fmt::format("{} nodes", v.nodes));
    if (shares) v.name += fmt::format(", {} shares", v.shares);
    if (trigger && v.trigger) v.name += ", trigger";
  }
}

void choose_first_views(page_data& data) {
  std::vector<std::uint32_t> runs, even;
  for (std::uint32_t i = 0; i < data.views.size(); ++i) (data.views[i].even_layout ? even : runs).push_back(i);
  if (runs.empty()) return;
  data.left = !even.empty() && runs.size() == 1 ? even.front() : runs.front();
  data.right = runs.size() == 1 ? runs.front() : runs[1];
}

// A round width at which nearly all layers of all views fit.
bins bins_for(const std::vector<view>& views) {
  std::vector<float> all;
  for (const auto& v : views) all.insert(all.end(), v.layer_imbalance.begin(), v.layer_imbalance.end());
  bins out;
  if (all.empty()) return out;
  const auto high = all.begin() + static_cast<std::ptrdiff_t>(static_cast<double>(all.size() - 1) * 0.995);
  std::nth_element(all.begin(), high, all.end());
  const double needed = (static_cast<double>(*high) - out.from) / (out.count - 1);
  for (out.width = 0.001; out.width < needed;) {
    const double digit = out.width / std::pow(10, std::floor(std::log10(out.width) + 1e-9));
    out.width *= digit > 1.9 && digit < 2.1 ? 2.5 : 2;  // 1, 2, 5, 10 …
  }
  return out;
}

std::vector<std::uint64_t> histogram_of(const view& v, const bins& in) {
  std::vector<std::uint64_t> out;
  if (v.layer_imbalance.empty()) return out;
  out.resize(in.count);
  for (const float x : v.layer_imbalance) {
    const double bin = std::max(0.0, std::floor((static_cast<double>(x) - in.from) / in.width));
    ++out[static_cast<std::size_t>(std::min<double>(bin, in.count - 1))];
  }
  return out;
}

}  // namespace

page_data page_data_of(std::vector<source> sources, std::vector<view> views, const bounds& within) {
  page_data out;
  out.sources = std::move(sources);
  out.views = std::move(views);
  if (out.views.empty()) return out;
  name_views(out.sources, out.views, false);
  name_views(out.sources, out.views, true);
  choose_first_views(out);
  out.imbalance_bins = bins_for(out.views);
  for (const auto& v : out.views) out.histograms.push_back(histogram_of(v, out.imbalance_bins));
  out.notes = thin_out(out.views, within);
  return out;
}

}  // namespace ballast::report
