#include "policies/formats/stats_parser.hpp"

#include <algorithm>
#include <cmath>

namespace ballast::policies {

namespace {

constexpr std::uint32_t dimension_max = 1U << 20;  // layers or experts beyond it are a damaged file, not a model

std::string text(std::size_t number) { return std::to_string(number); }

tl::unexpected<stats_parser::fault> bad(const node& at, std::string what) {
  return tl::unexpected<stats_parser::fault>({at.line, std::move(what)});
}

const node* present(const node& object, const char* key) {
  const auto* found = object.find(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

bool is_table(const node& rows) {
  return rows.is_list() && rows.size() > 0 && rows.size() <= dimension_max && rows.numbers.empty() &&
         rows.items[0].is_list() && rows.items[0].size() > 0 && rows.items[0].size() <= dimension_max;
}

std::optional<step_t> step_of(const node& value) {
  if (!value.is_whole() || value.number < 0) return std::nullopt;
  return static_cast<step_t>(value.number);
}

bool is_load(double tokens) { return std::isfinite(tokens) && tokens >= 0; }

}  // namespace

bool read_count(const node& object, const char* key, std::uint32_t& out) {
  const auto* found = present(object, key);
  if (found == nullptr) return true;
  if (!found->is_whole() || found->number < 0 || found->number > dimension_max) return false;
  out = static_cast<std::uint32_t>(found->number);
  return true;
}

std::uint32_t stats_parser::delivered(std::uint32_t in_file) const {
  const auto left = in_file - std::min(in_file, static_cast<std::uint32_t>(first()));
  return options_.max_layers == 0 ? left : std::min(options_.max_layers, left);
}

stats_parser::parsed<void> stats_parser::take_meta(const node& object) {
  load_meta seen;
  std::uint32_t layers = 0, redundant = 0;
  for (const auto& [key, field] : {std::pair{"num_layers", &layers},
                                   {"num_logical_experts", &seen.experts},
                                   {"num_groups", &seen.groups},
                                   {"top_k", &seen.top_k},
                                   {"num_redundant_experts", &redundant},
                                   {"num_ranks", &seen.ranks},
                                   {"num_nodes", &seen.nodes},
                                   {"steps_per_interval", &seen.steps_per_interval}}) {
    if (!read_count(object, key, *field))
      return bad(object, std::string(key) + " is not a whole number in 0.." + text(dimension_max));
  }
  const auto differ = [](std::uint32_t a, std::uint32_t b) { return a != 0 && b != 0 && a != b; };
  if (differ(layers, layers_in_file_) || differ(seen.experts, meta.experts)) {
    return bad(object, "a second eplb_load_meta with another shape; keep one model to a file");
  }
  for (const auto& [key, field] : {std::pair{"model", &seen.model}, {"fingerprint", &seen.fingerprint}}) {
    if (const auto* found = present(object, key); found != nullptr && found->is_text()) *field = found->text;
  }
  seen.groups = std::max(seen.groups, 1U);
  seen.redundant = redundant;
  if (present(object, "num_redundant_experts") != nullptr) redundant_ = redundant;
  if (shape_settled_) {
    seen.layers = meta.layers;
    seen.experts = meta.experts;
  } else {
    layers_in_file_ = layers;
    seen.layers = delivered(layers);
  }
  meta = std::move(seen);
  return {};
}

// Settles what the meta record left open.
stats_parser::parsed<void> stats_parser::take_shape(const node& rows, const node* map) {
  if (!is_table(rows)) return bad(rows, "expert_load is not a table [layer][expert]");
  if (layers_in_file_ == 0) layers_in_file_ = static_cast<std::uint32_t>(rows.size());
  shape_settled_ = true;
  meta.layers = delivered(layers_in_file_);
  if (meta.layers == 0) return bad(rows, text(layers_in_file_) + " layers, all of them dense ones to be left out");
  if (auto ok = take_experts(rows, map); !ok) return ok;
  if (std::uint64_t{meta.layers} * meta.experts > tree_builder::numbers_max)
    return bad(rows, text(meta.layers) + " layers x " + text(meta.experts) + " experts are more than any model has");
  return {};
}

stats_parser::parsed<void> stats_parser::take_experts(const node& rows, const node* map) {
  if (meta.experts != 0) return {};
  const auto columns = static_cast<std::uint32_t>(rows.items[0].size());
  meta.experts = columns;
  if (map == nullptr) return {};
  if (redundant_ && *redundant_ < columns) {
    meta.experts = columns - *redundant_;
    return {};
  }
  double highest = -1;
  for (const auto& row : map->items) {
    for (const double id : row.numbers) highest = std::max(highest, id);
  }
  if (!policies::is_whole(highest) || highest < 0 || highest >= columns)
    return bad(*map, "p2l_map does not name logical experts within the columns");
  meta.experts = static_cast<std::uint32_t>(highest) + 1;
  return {};
}

stats_parser::parsed<void> stats_parser::take_row(const node& row, const node* ids, std::size_t layer,
                                                  std::vector<double>& out) const {
  const auto at = "layer " + text(layer);
  if (!row.is_list()) return bad(row, "expert_load of " + at + " is not a list");
  if (const auto odd = row.first_no_number(); odd != node::npos)
    return bad(row, "load of " + at + ", column " + text(odd) + " is not a number >= 0");
  const auto& cells = row.numbers;
  if (ids != nullptr && (!ids->is_list() || ids->first_no_number() != node::npos || ids->size() != cells.size()))
    return bad(row, "p2l_map of " + at + " does not match expert_load, which has " + text(cells.size()) + " columns");
  if (ids == nullptr && cells.size() != meta.experts) {
    return bad(row, at + " has " + text(cells.size()) + " experts, the recording has " + text(meta.experts) +
                        "; physical columns need p2l_map");
  }
  out.assign(meta.experts, 0.0);
  for (std::size_t column = 0; column < cells.size(); ++column) {
    if (!is_load(cells[column]))
      return bad(row, "load of " + at + ", column " + text(column) + " is not a number >= 0");
    auto expert = static_cast<double>(column);
    if (ids != nullptr) {
      expert = ids->numbers[column];
      if (expert == empty_slot && cells[column] == 0) continue;
      if (!policies::is_whole(expert) || expert < 0 || expert >= meta.experts) {
        return bad(row, "p2l_map of " + at + ", column " + text(column) + " is not a logical expert in 0.." +
                            text(meta.experts - 1));
      }
    }
    out[static_cast<std::size_t>(expert)] += cells[column];
  }
  return {};
}

stats_parser::parsed<void> stats_parser::take_rows(const node& rows, const node* map, load_record& record) {
  if (auto ok = take_shape(rows, map); !ok) return ok;
  if (const auto odd = rows.first_no_list(); odd != node::npos)
    return bad(rows, "expert_load of layer " + text(odd) + " is not a list");
  if (rows.size() != layers_in_file_) {
    return bad(rows, "expert_load has " + text(rows.size()) + " layers, the recording has " + text(layers_in_file_));
  }
  record.tokens.resize(meta.layers);
  last_map.assign(map == nullptr ? 0 : meta.layers, {});
  for (std::size_t layer = 0; layer < meta.layers; ++layer) {
    const auto row = layer + first();
    if (map != nullptr && (!map->is_list() || row >= map->items.size()))
      return bad(rows, "p2l_map of layer " + text(row) + " does not match expert_load, it is missing");
    const node* ids = map == nullptr ? nullptr : &map->items[row];
    if (auto ok = take_row(rows.items[row], ids, row, record.tokens[layer]); !ok) return ok;
    if (ids != nullptr) last_map[layer].assign(ids->numbers.begin(), ids->numbers.end());
  }
  return {};
}

// What only Ballast records; wrong shapes are faults, absence is none.
stats_parser::parsed<void> stats_parser::take_extras(const node& object, load_record& record) const {
  const auto numbers = [&](const char* key, auto& out, auto&& fits) -> parsed<void> {
    const auto* found = present(object, key);
    if (found == nullptr) return {};
    if (!found->is_list() || found->first_no_number() != node::npos ||
        !std::all_of(found->numbers.begin(), found->numbers.end(), fits))
      return bad(*found, std::string(key) + " is not a list of numbers >= 0");
    out.assign(found->numbers.begin(), found->numbers.end());
    return {};
  };
  const auto is_seat = [](double n) { return policies::is_whole(n) && n >= 0 && n <= dimension_max; };
  if (auto ok = numbers("seats", record.seats, is_seat); !ok) return ok;
  if (auto ok = numbers("step_ms", record.step_ms, is_load); !ok) return ok;
  if (!record.step_ms.empty() && record.step_ms.size() != record.seats.size())
    return bad(object, "step_ms names another number of ranks than seats");
  if (const auto* found = present(object, "first_step"); found != nullptr) {
    const auto from = step_of(*found);
    if (!from) return bad(*found, "first_step is not a whole number >= 0");
    record.first_step = *from;
  }
  const auto* rows = present(object, "rank_load");
  if (rows == nullptr) return {};
  if (!rows->is_list() || rows->first_no_list() != node::npos || rows->size() != layers_in_file_)
    return bad(*rows, "rank_load is not a table [layer][seat] of " + text(layers_in_file_) + " layers");
  for (std::size_t layer = 0; layer < meta.layers; ++layer) {
    const auto& row = rows->items[layer + first()];
    if (row.first_no_number() != node::npos || row.size() != record.seats.size() ||
        !std::all_of(row.numbers.begin(), row.numbers.end(), is_load))
      return bad(row, "rank_load of layer " + text(layer + first()) + " is not a number >= 0 for each seat");
    record.rank_load.push_back(row.numbers);
  }
  return {};
}

// Physical columns are what each rank got, when the ranks share them evenly.
void stats_parser::take_rank_loads(const node& rows, load_record& record) const {
  const auto columns = rows.items[0].numbers.size();
  if (!record.rank_load.empty() || last_map.empty() || meta.ranks == 0 || columns % meta.ranks != 0) return;
  for (std::uint32_t rank = 0; rank < meta.ranks; ++rank) record.seats.push_back(rank);
  for (std::size_t layer = 0; layer < meta.layers; ++layer) {
    auto& out = record.rank_load.emplace_back(meta.ranks);
    const auto& cells = rows.items[layer + first()].numbers;
    for (std::size_t c = 0; c < cells.size() && c < columns; ++c) out[c / (columns / meta.ranks)] += cells[c];
  }
}

stats_parser::parsed<load_record> stats_parser::take_stats(const node& object) {
  const auto* rows = object.find("expert_load");
  if (rows == nullptr) return bad(object, "eplb_load_stats without expert_load");
  load_record record;
  if (const auto* step = object.find("step"); step != nullptr) {
    const auto number = step_of(*step);
    if (!number) return bad(object, "step is not a whole number >= 0");
    record.step = *number;
  }
  if (meta.ranks == 0 && !read_count(object, "num_ranks", meta.ranks))
    return bad(object, "num_ranks is not a whole number in 0.." + text(dimension_max));
  if (auto ok = take_rows(*rows, present(object, "p2l_map"), record); !ok) return tl::unexpected(ok.error());
  if (auto ok = take_extras(object, record); !ok) return tl::unexpected(ok.error());
  if (record.seats.empty()) take_rank_loads(*rows, record);
  return record;
}

stats_parser::parsed<load_record> stats_parser::take_count(const node& table) {
  load_record record;
  document_ = true;
  if (auto ok = take_rows(table, nullptr, record); !ok) {
    auto wrong = ok.error();
    if (const auto at = wrong.text.find("expert_load"); at != std::string::npos)
      wrong.text.replace(at, std::string("expert_load").size(), "logical_count");
    return tl::unexpected(wrong);
  }
  return record;
}

}  // namespace ballast::policies
