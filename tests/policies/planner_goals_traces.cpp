#include "tests/policies/planner_goals_traces.hpp"

#include <algorithm>
#include <filesystem>

#include "policies/formats/load_records.hpp"

namespace ballast::policies::goals {

const std::vector<scenario>& scenarios() {
  static const std::vector<scenario> all = {
      {"A", {"dsv3-drift-s1", "dsv3-drift-s2"}, 32, 4, 288},
      {"A2", {"dsv3-shift-s1", ""}, 32, 4, 288},
      {"A4", {"dsv3-calm-s1", ""}, 32, 4, 288},
      {"B", {"dsv3-drift-s1", "dsv3-drift-s2"}, 64, 8, 320},
      {"C", {"dsv3-drift-s1", "dsv3-drift-s2"}, 8, 1, 288},
      {"D", {"qwen30-drift-s1", "qwen30-drift-s2"}, 2, 1, 144},
      {"E", {"qwen30-drift-s1", "qwen30-drift-s2"}, 4, 1, 288},
      {"F", {"kimi-drift-s1", ""}, 32, 4, 416},
      {"G", {"qwen30-drift-s1", "qwen30-drift-s2"}, 32, 4, 160, 94},
  };
  return all;
}

namespace {

snapshot flattened(const load_matrix& tokens) {
  snapshot out;
  for (const auto& row : tokens) out.insert(out.end(), row.begin(), row.end());
  return out;
}

void cut_intervals(trace& t) {
  t.intervals.clear();
  for (std::size_t first = 0; first + t.parts_each <= t.parts.size(); first += t.parts_each) {
    auto& sum = t.intervals.emplace_back(t.parts[first]);
    for (auto i = first + 1; i < first + t.parts_each; ++i)
      std::transform(sum.begin(), sum.end(), t.parts[i].begin(), sum.begin(), std::plus<>());
  }
}

trace stacked(const trace& a, const trace& b, std::uint32_t layers) {
  trace out = a;
  out.layers = layers;
  for (std::size_t i = 0; i < out.parts.size(); ++i) {
    out.parts[i].insert(out.parts[i].end(), b.parts[i].begin(), b.parts[i].end());
    out.parts[i].resize(std::size_t{layers} * a.experts);
  }
  cut_intervals(out);
  return out;
}

}  // namespace

result<const trace*> trace_store::load(const std::string& file) {
  if (const auto found = loaded_.find(file); found != loaded_.end()) return &found->second;
  const auto path = folder_ + "/" + file + ".jsonl.gz";
  if (!std::filesystem::exists(path)) return fail(errc::not_found, "no trace " + path);
  const auto recording = read_load_records(path);
  if (!recording) return fail(recording.error());
  trace t;
  t.layers = static_cast<std::uint32_t>(recording->records[0].tokens.size());
  t.experts = static_cast<std::uint32_t>(recording->records[0].tokens[0].size());
  t.groups = recording->meta.groups;
  t.parts_each = std::max(1U, recording->meta.steps_per_interval);
  for (const auto& record : recording->records) t.parts.push_back(flattened(record.tokens));
  cut_intervals(t);
  if (t.intervals.size() < 4) return fail(errc::invalid_argument, path + ": fewer than 4 intervals");
  return &loaded_.emplace(file, std::move(t)).first->second;
}

result<const trace*> trace_store::of(const scenario& s, bool other_seed) {
  const auto& file = s.files[other_seed ? 1 : 0];
  if (file.empty()) return fail(errc::not_found, "scenario " + s.name + " has no other seed");
  if (s.stacked_layers == 0) return load(file);
  const auto name = s.name + (other_seed ? "'" : "");
  if (const auto found = loaded_.find(name); found != loaded_.end()) return &found->second;
  const auto one = load(file), two = load(s.files[other_seed ? 0 : 1]);
  if (!one) return one;
  if (!two) return two;
  return &loaded_.emplace(name, stacked(**one, **two, s.stacked_layers)).first->second;
}

plan_shape shape_of(const scenario& s, const trace& t) {
  plan_shape shape{t.layers, t.experts, t.groups, {}, s.slots - t.experts};
  for (std::uint32_t r = 0; r < s.ranks; ++r) shape.ranks.push_back({s.slots / s.ranks, r * s.nodes / s.ranks, 1});
  return shape;
}

recent_loads seen_at(const trace& t, std::size_t now) {
  const auto rows = [&](const snapshot& from) { return load_rows::flat(from.data(), t.layers, t.experts); };
  recent_loads out{rows(t.intervals[now]), {}, {}};
  for (std::size_t i = now * t.parts_each; i < (now + 1) * t.parts_each; ++i) out.parts.push_back(rows(t.parts[i]));
  for (std::size_t i = 0; i < now; ++i) out.intervals.push_back(rows(t.intervals[i]));
  return out;
}

}  // namespace ballast::policies::goals
