// text_of(): a placement in each engine's form.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "policies/formats/json_lists.hpp"
#include "policies/formats/placement_file.hpp"

namespace ballast::policies {

namespace {

using document = nlohmann::ordered_json;

std::string vllm(const expert_map& map) {
  auto out =
      fmt::format(R"({{"record_type":"eplb_initial_mapping","version":1,"num_redundant_experts":{},"num_slots":{},)"
                  R"("initial_global_assignments":{{)",
                  map.slots() - map.experts, map.slots());
  for (std::size_t layer = 0; layer < map.layers.size(); ++layer) {
    out += fmt::format("{}\"{}\":", layer == 0 ? "" : ",", layer);
    append_list(out, map.layers[layer]);
  }
  return out + "}}\n";
}

std::string trtllm(const expert_map& map, std::uint32_t first_layer) {
  auto out = fmt::format("num_slots: {}\ninitial_global_assignments:\n", map.slots());
  for (std::size_t layer = 0; layer < map.layers.size(); ++layer) {
    out += fmt::format("  {}: ", first_layer + layer);
    append_list(out, map.layers[layer]);
    out += '\n';
  }
  return out + "layer_updates_per_iter: 0\n";
}

// Dense layers have no experts, but their rows must be there: experts in order.
std::string sglang(const expert_map& map, std::uint32_t dense) {
  std::vector<std::int32_t> in_order(map.slots());
  for (std::size_t s = 0; s < in_order.size(); ++s) in_order[s] = static_cast<std::int32_t>(s % map.experts);
  auto rows = map.layers;
  rows.insert(rows.begin(), dense, in_order);
  std::string out = R"({"physical_to_logical_map":)";
  append_table(out, rows);
  return out + "}\n";
}

std::string ascend(const expert_map& map) {
  const auto room = map.slots() / map.ranks;
  auto out = fmt::format("{{\"moe_layer_count\": {}, \"layer_list\": [", map.layers.size());
  for (std::size_t layer = 0; layer < map.layers.size(); ++layer) {
    out += fmt::format("{}\n  {{\"layer_id\": {}, \"device_count\": {}, \"device_list\": [", layer == 0 ? "" : ",",
                       layer, map.ranks);
    for (std::uint32_t rank = 0; rank < map.ranks; ++rank) {
      const auto* first = map.layers[layer].data() + std::size_t{rank} * room;
      std::vector<std::int32_t> held;
      std::copy_if(first, first + room, std::back_inserter(held), [](auto id) { return id != empty_slot; });
      out += fmt::format("{}\n    {{\"device_id\": {}, \"device_expert\": ", rank == 0 ? "" : ",", rank);
      append_list(out, held);
      out += '}';
    }
    out += "]}";
  }
  return out + "]}\n";
}

std::string ballast(const expert_map& map, std::uint32_t first_layer) {
  const document head{{"record_type", "ballast_placement"},
                      {"version", 1},
                      {"model", map.model},
                      {"fingerprint", map.fingerprint},
                      {"num_ranks", map.ranks},
                      {"num_nodes", map.nodes},
                      {"num_layers", map.layers.size()},
                      {"num_logical_experts", map.experts},
                      {"first_layer", first_layer}};
  auto out = head.dump(-1, ' ', false, document::error_handler_t::replace);
  out.pop_back();
  out += R"(,"p2l_map":)";
  append_table(out, map.layers);
  if (!map.shares.empty()) {
    out += R"(,"shares":)";
    append_table(out, map.shares);
  }
  return out + "}\n";
}

std::size_t count_empty(const expert_map& map) {
  std::size_t empty = 0;
  for (const auto& row : map.layers) empty += static_cast<std::size_t>(std::count(row.begin(), row.end(), empty_slot));
  return empty;
}

}  // namespace

result<std::string> text_of(const expert_map& map, file_format format, std::uint32_t first_dense_layers) {
  if (auto ok = check(map); !ok) return fail(ok.error());
  const auto empty = count_empty(map);
  const bool knows_empty = format == file_format::ballast || format == file_format::vllm_ascend;
  if (empty > 0 && !knows_empty) {
    return fail(errc::does_not_fit,
                fmt::format("{} slots are empty, which {} cannot write; give a placement that fills "
                            "them all, or write ballast or vllm-ascend",
                            empty, to_string(format)));
  }
  if (format == file_format::vllm_ascend && map.ranks == 0)
    return fail(errc::invalid_argument, "vllm-ascend's form lists devices; give --ranks");
  const auto dense = first_dense_layers != 0 ? first_dense_layers : map.first_layer;
  if (dense > most_dense_layers)
    return fail(
        errc::invalid_argument,
        fmt::format("{} dense layers before those with experts; at most {} can be written", dense, most_dense_layers));
  switch (format) {
    case file_format::vllm:
      return vllm(map);
    case file_format::sglang:
      return sglang(map, dense);
    case file_format::trtllm:
      return trtllm(map, dense);
    case file_format::vllm_ascend:
      return ascend(map);
    case file_format::ballast:
      return ballast(map, dense);
    case file_format::automatic:
      break;
  }
  return fail(errc::invalid_argument, "no format to write; name one");
}

}  // namespace ballast::policies
