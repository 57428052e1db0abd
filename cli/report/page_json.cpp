// page_data as JSON; web/decode.js reads it.
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/report/digits.hpp"
#include "cli/report/page_data.hpp"

namespace ballast::report {
namespace {

using document = nlohmann::ordered_json;

document rounded(double value) { return std::round(value * 1e4) / 1e4; }
document rounded(const std::optional<double>& value) { return value ? rounded(*value) : document(nullptr); }

std::uint64_t level(float value, float top) {
  return static_cast<std::uint64_t>(std::lround(static_cast<double>(value) / top * 4095));
}

document document_of(const heat_map& heat) {
  const float top = std::max(1e-6F, *std::max_element(heat.cells.begin(), heat.cells.end()));
  std::string cells;
  for (const float cell : heat.cells) append_digits(cells, level(cell, top), cell_digits);
  return {{"frames", heat.frames},
          {"layers", heat.layers},
          {"columns", heat.columns},
          {"fold", heat.ranks_a_column},
          {"top", top},
          {"cells", std::move(cells)}};
}

document document_of(const busy_experts& experts) {
  float top = 1e-6F;
  for (const auto& e : experts.cells) top = std::max(top, e.load);
  std::string cells;
  for (const auto& e : experts.cells) {
    append_digits(cells, e.expert, expert_digits);
    append_digits(cells, e.copies, copies_digits);
    append_digits(cells, level(e.load, top), cell_digits);
  }
  return {{"count", experts.top}, {"top", top}, {"cells", std::move(cells)}};
}

document document_of(const std::vector<step>& steps) {
  document record = document::array(), next = record, next_max = record, planned = record, moves = record,
           receiver = record;
  for (const auto& s : steps) {
    record.push_back(s.record);
    next.push_back(rounded(s.next));
    next_max.push_back(rounded(s.next_max));
    planned.push_back(rounded(s.planned));
    moves.push_back(s.moves);
    receiver.push_back(s.receiver);
  }
  return {{"record", record},   {"next", next},   {"max", next_max},
          {"planned", planned}, {"moves", moves}, {"receiver", receiver}};
}

document document_of(const view& v) {
  document d{{"name", v.name},
             {"source", v.source},
             {"even", v.even_layout},
             {"policy", v.policy},
             {"shares", v.shares},
             {"interval", v.interval},
             {"redundant", v.redundant},
             {"ranks", v.ranks},
             {"nodes", v.nodes},
             {"trigger", v.trigger},
             {"next", rounded(v.next)},
             {"p95", rounded(v.next_p95)},
             {"max", rounded(v.next_max)},
             {"planned", rounded(v.planned)},
             {"moved", std::round(v.moved * 1e6) / 1e6},
             {"moves", v.moves},
             {"steps", document_of(v.steps)}};
  if (!v.heat.empty()) d["heat"] = document_of(v.heat);
  if (!v.busiest.cells.empty()) d["experts"] = document_of(v.busiest);
  return d;
}

// Inside a script element the parser looks for "</script" and "<!--" before anybody reads JSON; U+2028 and U+2029 are
// line ends to some.
std::string safe_in_script(const std::string& json) {
  std::string out;
  out.reserve(json.size());
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '<')
      out += "\\u003c";
    else if (c == '>')
      out += "\\u003e";
    else if (c == '&')
      out += "\\u0026";
    else if (json.compare(i, 3, "\xe2\x80\xa8") == 0)
      out += "\\u2028", i += 2;
    else if (json.compare(i, 3, "\xe2\x80\xa9") == 0)
      out += "\\u2029", i += 2;
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string json_of(const page_data& data) {
  document sources = document::array(), views = document::array();
  for (const auto& s : data.sources) {
    sources.push_back(
        {{"file", s.file}, {"model", s.model}, {"layers", s.layers}, {"experts", s.experts}, {"records", s.records}});
  }
  for (const auto& v : data.views) views.push_back(document_of(v));
  const document d{{"sources", std::move(sources)},
                   {"views", std::move(views)},
                   {"left", data.left},
                   {"right", data.right},
                   {"bundle_bytes", data.bundle_bytes},
                   {"bins",
                    {{"from", data.imbalance_bins.from},
                     {"width", rounded(data.imbalance_bins.width)},
                     {"count", data.imbalance_bins.count}}},
                   {"histograms", data.histograms},
                   {"notes", data.notes}};
  return safe_in_script(d.dump(-1, ' ', false, document::error_handler_t::replace));
}

}  // namespace ballast::report
