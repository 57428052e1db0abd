#include "policies/formats/map_parsers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

namespace ballast::policies {

namespace {

constexpr double id_max = 1 << 20;

std::string text_of(std::size_t number) { return fmt::to_string(number); }
std::string layer_name(std::size_t number) { return fmt::format("layer {}", number); }

tl::unexpected<stats_parser::fault> bad(const node& at, std::string what) {
  return tl::unexpected<stats_parser::fault>({at.line, std::move(what)});
}

// A list of logical ids; -1 where `may_be_empty`.
stats_parser::parsed<std::vector<std::int32_t>> ids_of(const node& list, const std::string& name, bool may_be_empty) {
  if (!list.is_list()) return bad(list, name + " is not a list of experts");
  if (list.size() == 0 && !may_be_empty) return bad(list, name + " is empty");
  const auto odd = list.first_no_number();
  for (std::size_t i = 0; i < std::min(odd, list.numbers.size()); ++i) {
    const double id = list.numbers[i];
    if (!is_whole(id) || id > id_max || id < (may_be_empty ? -1 : 0))
      return bad(list, name + ", slot " + text_of(i) + " is not a logical expert");
  }
  if (odd != node::npos) return bad(list, name + ", slot " + text_of(odd) + " is not a logical expert");
  return std::vector<std::int32_t>(list.numbers.begin(), list.numbers.end());
}

// Experts are as many as the highest id says, unless the file does.
expert_map with_experts(expert_map map) {
  std::int32_t highest = -1;
  for (const auto& row : map.layers) {
    for (const auto id : row) highest = std::max(highest, id);
  }
  map.experts = std::max(map.experts, static_cast<std::uint32_t>(highest + 1));
  return map;
}

stats_parser::parsed<std::uint32_t> count_of(const node& object, const char* key) {
  std::uint32_t value = 0;
  if (!read_count(object, key, value)) return bad(object, std::string(key) + " is not a whole number >= 0");
  return value;
}

// {"3": [ids], "4": [ids]}: layers of consecutive numbers. num_slots, if there, must agree.
parsed_map parse_assignments(const node& object) {
  const auto* rows = object.find("initial_global_assignments");
  if (rows == nullptr) return bad(object, "has no initial_global_assignments; is this a placement?");
  if (!rows->is_map() || rows->keys.empty()) return bad(*rows, "initial_global_assignments is not a map of layers");
  std::map<std::uint32_t, std::size_t> by_number;
  for (std::size_t i = 0; i < rows->keys.size(); ++i) {
    const auto& key = rows->keys[i];
    std::uint32_t number = 0;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), number);
    if (problem != std::errc{} || end != key.data() + key.size() || number > id_max)
      return bad(rows->items[i], fmt::format("'{:.40}' is not the number of a layer", key));
    if (!by_number.emplace(number, i).second) return bad(rows->items[i], layer_name(number) + " is there twice");
  }
  expert_map map;
  map.first_layer = by_number.begin()->first;
  for (const auto& [number, i] : by_number) {
    const auto expected = map.first_layer + map.layers.size();
    if (number != expected) return bad(rows->items[i], layer_name(expected) + " is missing; every MoE layer needs one");
    auto ids = ids_of(rows->items[i], layer_name(number), false);
    if (!ids) return tl::unexpected(ids.error());
    map.layers.push_back(std::move(*ids));
  }
  const auto slots = count_of(object, "num_slots");
  if (!slots) return tl::unexpected(slots.error());
  if (*slots != 0 && *slots != map.slots())
    return bad(object, "num_slots is " + text_of(*slots) + ", the layers have " + text_of(map.slots()));
  return with_experts(std::move(map));
}

// [[ids], [ids]].
stats_parser::parsed<std::vector<std::vector<std::int32_t>>> table_of(const node& object, const char* key) {
  const auto* rows = object.find(key);
  if (rows == nullptr) return bad(object, std::string("has no ") + key);
  if (!rows->is_list() || rows->size() == 0 || rows->first_no_list() != node::npos)
    return bad(*rows, std::string(key) + " is not a table [layer][slot]");
  std::vector<std::vector<std::int32_t>> out;
  for (const auto& row : rows->items) {
    auto ids = ids_of(row, layer_name(out.size()), true);
    if (!ids) return tl::unexpected(ids.error());
    out.push_back(std::move(*ids));
  }
  return out;
}

using device_rows = std::vector<std::vector<std::int32_t>>;  // [device]; of any length each

stats_parser::parsed<device_rows> parse_devices(const node& layer, const std::string& name) {
  const auto* devices = layer.find("device_list");
  if (devices == nullptr || !devices->is_list() || devices->items.empty())
    return bad(layer, name + " has no device_list");
  std::map<std::uint32_t, std::vector<std::int32_t>> rows;
  for (const auto& device : devices->items) {
    std::uint32_t id = ~0U;
    if (!device.is_map() || !read_count(device, "device_id", id) || id == ~0U)
      return bad(device, name + " has a device without device_id");
    const auto* experts = device.find("device_expert");
    const auto device_name = name + ", device " + text_of(id);
    if (experts == nullptr) return bad(device, device_name + " has no device_expert");
    auto ids = ids_of(*experts, device_name, true);
    if (!ids) return tl::unexpected(ids.error());
    if (!rows.emplace(id, std::move(*ids)).second) return bad(device, device_name + " is there twice");
  }
  if (rows.rbegin()->first + 1 != rows.size()) return bad(*devices, name + " leaves device numbers out");
  const auto declared = count_of(layer, "device_count");
  if (!declared) return tl::unexpected(declared.error());
  if (*declared != 0 && *declared != rows.size())
    return bad(layer, name + " has " + text_of(rows.size()) + " devices, device_count is " + text_of(*declared));
  device_rows out;
  for (auto& [id, ids] : rows) out.push_back(std::move(ids));
  return out;
}

stats_parser::parsed<void> take_shares(const node& object, expert_map& map) {
  const auto* shares = object.find("shares");
  if (shares == nullptr || shares->is_null()) return {};
  if (!shares->is_list() || shares->first_no_list() != node::npos || shares->size() != map.layers.size())
    return bad(*shares, "shares is not a table [layer][slot] of " + text_of(map.layers.size()) + " layers");
  for (const auto& row : shares->items) {
    if (row.first_no_number() != node::npos) return bad(row, "a share is not a number");
    map.shares.push_back(row.numbers);
  }
  return {};
}

}  // namespace

parsed_map parse_vllm_mapping(const node& object) {
  auto map = parse_assignments(object);
  if (!map) return map;
  if (map->first_layer != 0) return bad(object, "layers begin with " + text_of(map->first_layer) + ", not with 0");
  const auto redundant = count_of(object, "num_redundant_experts");
  if (!redundant) return tl::unexpected(redundant.error());
  if (object.find("num_redundant_experts") != nullptr && *redundant + map->experts != map->slots()) {
    return bad(object, "num_redundant_experts is " + text_of(*redundant) + ", but " + text_of(map->slots()) +
                           " slots hold " + text_of(map->experts) + " experts");
  }
  return map;
}

parsed_map parse_trtllm(const node& object) { return parse_assignments(object); }

parsed_map parse_sglang(const node& object, std::uint32_t first_dense_layers) {
  auto rows = table_of(object, "physical_to_logical_map");
  if (!rows) return tl::unexpected(rows.error());
  if (first_dense_layers >= rows->size())
    return bad(object, text_of(rows->size()) + " layers, all of them dense ones to be left out");
  expert_map map;
  map.first_layer = first_dense_layers;
  map.layers.assign(rows->begin() + first_dense_layers, rows->end());
  return with_experts(std::move(map));
}

parsed_map parse_ascend(const node& object) {
  const auto* layers = object.find("layer_list");
  if (layers == nullptr || !layers->is_list() || layers->size() == 0 || !layers->numbers.empty())
    return bad(object, "has no layer_list; is this an expert map?");
  std::map<std::uint32_t, device_rows> rows;
  std::size_t ranks = 0, room = 0;
  for (const auto& layer : layers->items) {
    std::uint32_t id = ~0U;
    if (!layer.is_map() || !read_count(layer, "layer_id", id) || id == ~0U)
      return bad(layer, "a layer without layer_id");
    auto devices = parse_devices(layer, layer_name(id));
    if (!devices) return tl::unexpected(devices.error());
    if (ranks != 0 && ranks != devices->size())
      return bad(layer, fmt::format("layer {} has {} devices, others have {}", id, devices->size(), ranks));
    ranks = devices->size();
    for (const auto& ids : *devices) room = std::max(room, ids.size());
    if (!rows.emplace(id, std::move(*devices)).second) return bad(layer, layer_name(id) + " is there twice");
  }
  const auto declared = count_of(object, "moe_layer_count");
  if (!declared) return tl::unexpected(declared.error());
  if (*declared != 0 && *declared != rows.size())
    return bad(object, fmt::format("moe_layer_count is {}, layer_list has {}", *declared, rows.size()));
  if (rows.rbegin()->first + 1 != rows.size()) return bad(*layers, "layer_list leaves layer numbers out");
  if (rows.size() * ranks * room > tree_builder::numbers_max)
    return bad(*layers, "devices of so different size that all together have more slots than any deployment");
  expert_map map;
  map.ranks = static_cast<std::uint32_t>(ranks);
  for (auto& [id, devices] : rows) {
    auto& slots = map.layers.emplace_back();
    for (auto& ids : devices) {
      ids.resize(room, empty_slot);
      slots.insert(slots.end(), ids.begin(), ids.end());
    }
  }
  return with_experts(std::move(map));
}

parsed_map parse_ballast(const node& object) {
  auto rows = table_of(object, "p2l_map");
  if (!rows) return tl::unexpected(rows.error());
  expert_map map;
  map.layers = std::move(*rows);
  for (const auto& [key, field] : {std::pair{"num_logical_experts", &map.experts},
                                   {"num_ranks", &map.ranks},
                                   {"num_nodes", &map.nodes},
                                   {"first_layer", &map.first_layer}}) {
    if (!read_count(object, key, *field)) return bad(object, std::string(key) + " is not a whole number >= 0");
  }
  for (const auto& [key, field] : {std::pair{"model", &map.model}, {"fingerprint", &map.fingerprint}}) {
    if (const auto* found = object.find(key); found != nullptr && found->is_text()) *field = found->text;
  }
  if (auto ok = take_shares(object, map); !ok) return tl::unexpected(ok.error());
  return with_experts(std::move(map));
}

}  // namespace ballast::policies
