#include "policies/formats/load_writer.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "policies/formats/json_lists.hpp"

namespace ballast::policies {

namespace {

using document = nlohmann::ordered_json;

}  // namespace

result<std::string> meta_line(const load_meta& meta, file_format format) {
  const bool ours = format == file_format::ballast;
  if (!ours && format != file_format::vllm) {
    return fail(errc::invalid_argument, std::string("loads are written as vllm or ballast, not as ") +
                                            to_string(format) + "; name one of the two");
  }
  document d{{"record_type", "eplb_load_meta"}, {"version", 1}, {"model", meta.model}};
  if (ours) d["fingerprint"] = meta.fingerprint;
  d["num_ranks"] = meta.ranks;
  d["num_groups"] = meta.groups;
  d["num_nodes"] = meta.nodes;
  d["num_layers"] = meta.layers;
  d["num_redundant_experts"] = ours ? meta.redundant : 0;  // vLLM's columns would be physical ones with any
  if (ours) {
    d["num_logical_experts"] = meta.experts;
    d["top_k"] = meta.top_k;
    d["steps_per_interval"] = meta.steps_per_interval;
  }
  return d.dump(-1, ' ', false, document::error_handler_t::replace) + "\n";
}

std::string stats_line(const load_record& record, file_format format) {
  auto out = fmt::format(R"({{"record_type":"eplb_load_stats","version":1,"step":{},)", record.step);
  const bool ours = format == file_format::ballast;
  if (ours && record.first_step != 0) out += fmt::format("\"first_step\":{},", record.first_step);
  out += "\"expert_load\":";
  append_table(out, record.tokens);
  if (ours && !record.seats.empty()) {
    out += ",\"seats\":";
    append_list(out, record.seats);
    if (!record.rank_load.empty()) {
      out += ",\"rank_load\":";
      append_table(out, record.rank_load);
    }
    if (!record.step_ms.empty()) {
      out += ",\"step_ms\":";
      append_list(out, record.step_ms);
    }
  }
  return out + "}\n";
}

}  // namespace ballast::policies
