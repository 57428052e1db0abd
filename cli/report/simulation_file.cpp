// The JSON of `ballast simulate`, read back.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "cli/report/view.hpp"

namespace ballast::report {
namespace {

using nlohmann::json;

constexpr std::uintmax_t file_bytes_max = std::uintmax_t{256} << 20;

// Fields of objects, with the first that is missing or of the wrong kind remembered by its path.
class fields {
 public:
  explicit fields(std::string& fault) : fault_(fault) {}

  double number(const json& in, const std::string& where, const char* name) {
    const auto at = in.find(name);
    if (at != in.end() && at->is_number() && at->get<double>() >= 0) return at->get<double>();
    blame(where, name, "a number that is not negative");
    return 0;
  }
  std::uint32_t count(const json& in, const std::string& where, const char* name) {
    const double value = number(in, where, name);
    if (value <= 0xffffffffU) return static_cast<std::uint32_t>(value);
    blame(where, name, "a count");
    return 0;
  }
  std::optional<double> maybe(const json& in, const std::string& where, const char* name) {
    if (!in.contains(name)) return {};
    return number(in, where, name);
  }
  std::string text(const json& in, const std::string& where, const char* name) {
    const auto at = in.find(name);
    if (at != in.end() && at->is_string()) return at->get<std::string>();
    blame(where, name, "a text");
    return {};
  }
  const json& list(const json& in, const std::string& where, const char* name) {
    static const json none = json::array();
    const auto at = in.find(name);
    if (at != in.end() && at->is_array()) return *at;
    blame(where, name, "a list");
    return none;
  }
  void blame(const std::string& where, const std::string& name, const char* wanted) {
    if (fault_.empty()) fault_ = fmt::format("{}{} is not {}", where, name, wanted);
  }

 private:
  std::string& fault_;
};

void read_steps(const json& run, const std::string& where, fields& f, view& v, view& even) {
  std::size_t i = 0;
  for (const auto& r : f.list(run, where, "rebalances")) {
    const auto at = fmt::format("{}rebalances[{}].", where, i++);
    v.steps.push_back({f.count(r, at, "record"), f.number(r, at, "par_next"), f.maybe(r, at, "par_next_max"),
                       f.maybe(r, at, "par_planned"), f.count(r, at, "moves"),
                       static_cast<std::uint64_t>(f.maybe(r, at, "max_receiver").value_or(0))});
    if (const auto stayed = f.maybe(r, at, "par_static"))
      even.steps.push_back({v.steps.back().record, *stayed, {}, {}, 0, 0});
  }
}

// [rebalance][layer][rank], all of one shape.
void read_load(const json& run, const std::string& where, fields& f, std::uint32_t layers, view& v) {
  if (!run.contains("load")) return;
  const auto& all = f.list(run, where, "load");
  bool fits = all.size() == v.steps.size();
  for (const auto& frame : all) {
    fits = fits && frame.is_array() && frame.size() == layers;
    if (!fits) break;
    for (const auto& row : frame) {
      fits = fits && row.is_array() && row.size() == v.ranks;
      if (!fits) break;
      float most = 1;
      for (const auto& cell : row) {
        fits = fits && cell.is_number() && cell.get<double>() >= 0;
        v.heat.cells.push_back(fits ? cell.get<float>() : 0);
        most = std::max(most, v.heat.cells.back());
      }
      if (&frame != &all.front()) v.layer_imbalance.push_back(most);
    }
  }
  if (!fits) return f.blame(where, "load", "a list of rebalances of layers of ranks");
  v.heat.frames.resize(v.steps.size());
  std::iota(v.heat.frames.begin(), v.heat.frames.end(), 0U);
  v.heat.layers.resize(layers);
  std::iota(v.heat.layers.begin(), v.heat.layers.end(), 0U);
  v.heat.columns = v.ranks;
}

void read_run(const json& run, const std::string& where, fields& f, std::uint32_t layers, view& v, view& even) {
  v.policy = f.text(run, where, "policy");
  v.shares = f.text(run, where, "shares");
  v.interval = f.count(run, where, "interval");
  v.redundant = f.count(run, where, "redundant");
  v.ranks = f.count(run, where, "ranks");
  v.nodes = f.count(run, where, "nodes");
  v.trigger = run.value("trigger", json(false)) == json(true);
  const auto summary = run.find("summary");
  if (summary == run.end() || !summary->is_object()) return f.blame(where, "summary", "an object");
  const auto in = where + "summary.";
  v.next = f.number(*summary, in, "par_next");
  v.next_p95 = f.maybe(*summary, in, "par_next_p95");
  v.next_max = f.maybe(*summary, in, "par_next_max");
  v.planned = f.maybe(*summary, in, "par_planned");
  v.moved = f.number(*summary, in, "moved");
  v.moves = f.count(*summary, in, "moves");
  even.even_layout = true;
  even.policy = "static";
  even.interval = v.interval;
  even.ranks = v.ranks;
  even.nodes = v.nodes;
  even.next = f.maybe(*summary, in, "par_static").value_or(1);
  if (v.ranks == 0) f.blame(where, "ranks", "a number of ranks");
  read_steps(run, where, f, v, even);
  if (v.steps.empty()) f.blame(where, "rebalances", "a list with an entry for each rebalance");
  read_load(run, where, f, layers, v);
}

result<simulation> read_document(const json& d, const std::string& file) {
  std::string fault;
  fields f(fault);
  simulation out;
  if (!d.is_object() || !d.contains("runs"))
    return fail(errc::malformed, fmt::format("{} has no list \"runs\"; give what ballast simulate --json wrote", file));
  out.source.model = d.value("model", json()).is_string() ? d["model"].get<std::string>() : "";
  out.source.file = std::filesystem::path(f.text(d, "", "recording")).filename().string();
  out.source.layers = f.count(d, "", "layers");
  out.source.experts = f.count(d, "", "experts");
  out.source.records = static_cast<std::uint64_t>(f.maybe(d, "", "records").value_or(0));
  if (const auto cost = d.find("cost_model"); cost != d.end() && cost->is_object())
    out.bundle_bytes = static_cast<std::uint64_t>(f.maybe(*cost, "cost_model.", "bundle_bytes").value_or(0));
  std::set<std::pair<std::uint32_t, std::uint32_t>> even_layouts;
  std::size_t i = 0;
  for (const auto& run : f.list(d, "", "runs")) {
    const auto where = fmt::format("runs[{}].", i++);
    view v, even;
    if (!run.is_object()) f.blame("", where, "an object");
    if (fault.empty()) read_run(run, where, f, out.source.layers, v, even);
    if (!fault.empty()) return fail(errc::malformed, fmt::format("{}: {}", file, fault));
    if (!even.steps.empty() && even_layouts.emplace(v.interval, v.ranks).second) out.views.push_back(std::move(even));
    out.views.push_back(std::move(v));
  }
  if (!fault.empty()) return fail(errc::malformed, fmt::format("{}: {}", file, fault));
  if (out.views.empty())
    return fail(errc::malformed, fmt::format("{} has no runs; give ballast simulate a policy", file));
  return out;
}

}  // namespace

result<simulation> read_simulation(const std::string& file) {
  std::error_code code;
  const auto size = std::filesystem::file_size(file, code);
  std::ifstream in(file, std::ios::binary);
  if (code || !in)
    return fail(errc::io, fmt::format("cannot read {}: {}", file, code ? code.message() : "open failed"));
  if (size > file_bytes_max) {
    return fail(errc::does_not_fit,
                fmt::format("{} has {} MiB, more than {}; simulate fewer runs, or without --with-load", file,
                            size >> 20, file_bytes_max >> 20));
  }
  const auto d = json::parse(in, nullptr, false);
  if (d.is_discarded())
    return fail(errc::malformed, fmt::format("{} is not JSON; give what ballast simulate --json wrote", file));
  return read_document(d, file);
}

}  // namespace ballast::report
