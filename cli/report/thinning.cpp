#include "cli/report/thinning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cli/report/digits.hpp"

namespace ballast::report {
namespace {

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

// So many of 0 … count - 1, evenly spread, with the first and the last.
std::vector<std::uint32_t> spread(std::size_t count, std::size_t wanted) {
  wanted = std::clamp<std::size_t>(wanted, 1, count);
  std::vector<std::uint32_t> out(wanted);
  for (std::size_t i = 0; i < wanted; ++i)
    out[i] = static_cast<std::uint32_t>(wanted == 1 ? 0 : i * (count - 1) / (wanted - 1));
  return out;
}

template <class T>
std::vector<T> chosen(const std::vector<T>& from, const std::vector<std::uint32_t>& which) {
  std::vector<T> out;
  for (const auto i : which) out.push_back(from[i]);
  return out;
}

// The heat map with these frames and rows, `fold` ranks to a column.
void reduce(view& v, const std::vector<std::uint32_t>& frames, const std::vector<std::uint32_t>& rows,
            std::uint32_t fold) {
  heat_map out;
  out.frames = chosen(v.heat.frames, frames);
  out.layers = chosen(v.heat.layers, rows);
  out.columns = static_cast<std::uint32_t>(ceil_div(v.heat.columns, fold));
  out.ranks_a_column = fold;
  busy_experts busiest{v.busiest.top, {}};
  for (const auto f : frames) {
    for (const auto row : rows) {
      for (std::uint32_t c = 0; c < v.heat.columns; c += fold) {
        float most = 0;
        for (auto k = c; k < std::min(c + fold, v.heat.columns); ++k) most = std::max(most, v.heat.at(f, row, k));
        out.cells.push_back(most);
      }
      if (v.busiest.cells.empty()) continue;
      const auto first =
          v.busiest.cells.begin() + static_cast<std::ptrdiff_t>((f * v.heat.layers.size() + row) * v.busiest.top);
      busiest.cells.insert(busiest.cells.end(), first, first + v.busiest.top);
    }
  }
  v.heat = std::move(out);
  v.busiest = std::move(busiest);
}

step folded(const std::vector<step>& steps, std::size_t from, std::size_t to) {
  step out = steps[from];
  double next = 0, planned = 0;
  out.moves = 0;
  for (auto i = from; i < to; ++i) {
    next += steps[i].next;
    planned += steps[i].planned.value_or(0);
    if (steps[i].next_max) out.next_max = std::max(out.next_max.value_or(1), *steps[i].next_max);
    out.moves += steps[i].moves;
    out.receiver = std::max(out.receiver, steps[i].receiver);
  }
  const auto count = static_cast<double>(to - from);
  out.next = next / count;
  if (out.planned) out.planned = planned / count;
  return out;
}

// Returns how many were folded into one.
std::size_t fold_steps(view& v, std::size_t most) {
  const auto fold = ceil_div(v.steps.size(), std::max<std::size_t>(most, 1));
  if (fold <= 1) return 1;
  std::vector<step> out;
  for (std::size_t i = 0; i < v.steps.size(); i += fold)
    out.push_back(folded(v.steps, i, std::min(i + fold, v.steps.size())));
  v.steps = std::move(out);
  for (auto& frame : v.heat.frames) frame = static_cast<std::uint32_t>(frame / fold);
  return fold;
}

}  // namespace

std::uint64_t bytes_of(const view& v) {
  return v.heat.cells.size() * cell_digits + v.busiest.cells.size() * busy_expert_digits;
}

std::vector<std::string> thin_out(std::vector<view>& views, const bounds& within) {
  const auto shown = static_cast<std::uint64_t>(
      std::count_if(views.begin(), views.end(), [](const view& v) { return !v.heat.empty(); }));
  std::size_t steps_folded = 1, ranks_folded = 1, layers_step = 1, frames_most = 0, frames_shown = 0;
  for (auto& v : views) {
    if (!v.heat.empty()) {
      const auto fold = ceil_div(v.heat.columns, within.columns);
      const auto skip = ceil_div(v.heat.layers.size(), within.layers);
      const auto frames = v.heat.frames.size();
      const auto rows = spread(v.heat.layers.size(), ceil_div(v.heat.layers.size(), skip));
      const auto a_frame = rows.size() * (ceil_div(v.heat.columns, fold) * cell_digits +
                                          (v.busiest.cells.empty() ? 0 : v.busiest.top * busy_expert_digits));
      const auto kept = spread(frames, std::min<std::size_t>(within.steps, within.bytes / shown / a_frame));
      if (fold > 1 || skip > 1 || kept.size() < frames) reduce(v, kept, rows, static_cast<std::uint32_t>(fold));
      ranks_folded = std::max(ranks_folded, fold);
      layers_step = std::max(layers_step, skip);
      if (kept.size() < frames && frames > frames_most) frames_most = frames, frames_shown = kept.size();
    }
    steps_folded = std::max(steps_folded, fold_steps(v, within.steps));
  }
  std::vector<std::string> notes;
  if (frames_most > 0)
    notes.push_back(
        fmt::format("Heat maps and experts are shown after {} of {} rebalances.", frames_shown, frames_most));
  if (layers_step > 1) notes.push_back(fmt::format("Heat maps show one of {} layers.", layers_step));
  if (ranks_folded > 1)
    notes.push_back(fmt::format("A column of a heat map is the busiest of {} neighbouring ranks.", ranks_folded));
  if (steps_folded > 1)
    notes.push_back(
        fmt::format("A point of a curve stands for {} rebalances: means of means, maxima of maxima, "
                    "sums of moves.",
                    steps_folded));
  if (frames_most > 0 || layers_step > 1 || ranks_folded > 1)
    notes.emplace_back("Curves, histograms and key figures count everything.");
  return notes;
}

}  // namespace ballast::report
