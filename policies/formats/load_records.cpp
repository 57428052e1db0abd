#include "policies/formats/load_records.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "policies/formats/line_reader.hpp"

namespace ballast::policies {

namespace {

using nlohmann::json;

constexpr std::uint32_t dimension_max = 1U << 20;  // layers or experts beyond it are a damaged file, not a model

std::string shape_text(std::size_t rows, const char* what) { return std::to_string(rows) + " " + what; }

// An optional whole number; false when the key is there and holds something else.
bool read_number(const json& object, const char* key, std::uint32_t& out) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return true;
  if (!it->is_number_integer() || *it < 0 || *it > dimension_max) return false;
  out = it->get<std::uint32_t>();
  return true;
}

}  // namespace

struct load_record_reader::impl {
  line_reader lines;
  std::uint32_t max_layers = 0;
  load_meta meta;
  std::uint32_t layers_in_file = 0;  // 0: not known yet
  std::optional<std::uint32_t> redundant;
  std::optional<load_record> waiting;  // the first stats record, read by open()
  std::optional<error> failed;
  std::string line;

  explicit impl(line_reader from) : lines(std::move(from)) {}

  tl::unexpected<error> bad(const std::string& what) const {
    return fail(errc::malformed, lines.where() + ": " + what);
  }

  result<std::optional<load_record>> read();
  result<std::optional<load_record>> read_line();
  status take_meta(const json& object);
  status take_shape(const json& rows, const json* map);
  result<load_record> take_stats(const json& object);
  status take_row(const json& row, const json* map, std::size_t layer, std::vector<double>& out) const;
};

status load_record_reader::impl::take_meta(const json& object) {
  load_meta seen;
  std::uint32_t layers = 0, redundant_here = 0;
  for (const auto& [key, field] : {std::pair{"num_layers", &layers},
                                   {"num_logical_experts", &seen.experts},
                                   {"num_groups", &seen.groups},
                                   {"top_k", &seen.top_k},
                                   {"num_redundant_experts", &redundant_here},
                                   {"num_ranks", &seen.ranks},
                                   {"num_nodes", &seen.nodes},
                                   {"steps_per_interval", &seen.steps_per_interval}}) {
    if (!read_number(object, key, *field))
      return bad(std::string(key) + " is not a whole number in 0.." + std::to_string(dimension_max));
  }
  if (layers_in_file != 0 &&
      ((layers != 0 && layers != layers_in_file) || (seen.experts != 0 && seen.experts != meta.experts))) {
    return bad("a second eplb_load_meta with another shape; keep one model to a file");
  }
  if (const auto it = object.find("model"); it != object.end() && it->is_string()) seen.model = it->get<std::string>();
  seen.groups = std::max(seen.groups, 1U);
  seen.redundant = redundant_here;
  if (object.contains("num_redundant_experts")) redundant = redundant_here;
  if (layers_in_file != 0) {  // shape is settled
    seen.layers = meta.layers;
    seen.experts = meta.experts;
  } else {
    layers_in_file = layers;
    seen.layers = max_layers == 0 ? layers : std::min(max_layers, layers);
  }
  meta = std::move(seen);
  return {};
}

// Settles what the meta record left open; from then on every record must agree.
status load_record_reader::impl::take_shape(const json& rows, const json* map) {
  if (!rows.is_array() || rows.empty() || rows.size() > dimension_max || !rows[0].is_array() || rows[0].empty() ||
      rows[0].size() > dimension_max) {
    return bad("expert_load is not a table [layer][expert]");
  }
  if (layers_in_file == 0) layers_in_file = static_cast<std::uint32_t>(rows.size());
  meta.layers = max_layers == 0 ? layers_in_file : std::min(max_layers, layers_in_file);
  if (meta.experts != 0) return {};
  const auto columns = static_cast<std::uint32_t>(rows[0].size());
  meta.experts = columns;
  if (map == nullptr) return {};
  if (redundant && *redundant < columns) {
    meta.experts = columns - *redundant;
    return {};
  }
  std::int64_t highest = -1;
  if (map->is_array()) {
    for (const auto& row : *map) {
      for (const auto& id : row) {
        if (id.is_number_integer()) highest = std::max(highest, id.get<std::int64_t>());
      }
    }
  }
  if (highest < 0 || highest >= columns) return bad("p2l_map does not name logical experts within the columns");
  meta.experts = static_cast<std::uint32_t>(highest) + 1;
  return {};
}

status load_record_reader::impl::take_row(const json& row, const json* map, std::size_t layer,
                                          std::vector<double>& out) const {
  const std::string at = "layer " + std::to_string(layer);
  if (!row.is_array()) return bad("expert_load of " + at + " is not a list");
  const json* ids = nullptr;
  if (map != nullptr) {
    if (!map->is_array() || layer >= map->size() || !(*map)[layer].is_array() || (*map)[layer].size() != row.size()) {
      return bad("p2l_map of " + at + " does not match expert_load, which has " + shape_text(row.size(), "columns"));
    }
    ids = &(*map)[layer];
  } else if (row.size() != meta.experts) {
    return bad(at + " has " + shape_text(row.size(), "experts") + ", the recording has " +
               std::to_string(meta.experts) + "; physical columns need p2l_map");
  }
  out.assign(meta.experts, 0.0);
  for (std::size_t column = 0; column < row.size(); ++column) {
    const json& cell = row[column];
    const double tokens = cell.is_number() ? cell.get<double>() : -1.0;
    if (!std::isfinite(tokens) || tokens < 0) {
      return bad("load of " + at + ", column " + std::to_string(column) + " is not a number >= 0");
    }
    std::int64_t expert = static_cast<std::int64_t>(column);
    if (ids != nullptr) {
      expert = (*ids)[column].is_number_integer() ? (*ids)[column].get<std::int64_t>() : -2;
      if (expert == -1 && tokens == 0) continue;  // an empty slot
      if (expert < 0 || expert >= static_cast<std::int64_t>(meta.experts)) {
        return bad("p2l_map of " + at + ", column " + std::to_string(column) + " is not a logical expert in 0.." +
                   std::to_string(meta.experts - 1));
      }
    }
    out[static_cast<std::size_t>(expert)] += tokens;
  }
  return {};
}

result<load_record> load_record_reader::impl::take_stats(const json& object) {
  const auto rows = object.find("expert_load");
  if (rows == object.end()) return bad("eplb_load_stats without expert_load");
  const auto map_at = object.find("p2l_map");
  const json* map = map_at == object.end() || map_at->is_null() ? nullptr : &*map_at;
  if (auto ok = take_shape(*rows, map); !ok) return fail(ok.error());
  if (rows->size() != layers_in_file) {
    return bad("expert_load has " + shape_text(rows->size(), "layers") + ", the recording has " +
               std::to_string(layers_in_file));
  }
  load_record record;
  if (const auto step = object.find("step"); step != object.end()) {
    if (!step->is_number_unsigned()) return bad("step is not a whole number >= 0");
    record.step = step->get<step_t>();
  }
  record.tokens.resize(meta.layers);
  for (std::size_t layer = 0; layer < meta.layers; ++layer) {
    if (auto ok = take_row((*rows)[layer], map, layer, record.tokens[layer]); !ok) return fail(ok.error());
  }
  return record;
}

// One line; nullopt for what is no stats record.
result<std::optional<load_record>> load_record_reader::impl::read_line() {
  json object;
  try {
    object = json::parse(line);
  } catch (const json::exception& e) {
    return bad(std::string("not JSON (") + e.what() + ")");
  }
  if (!object.is_object()) return bad("not a JSON object; expected one record a line");
  const auto type = object.find("record_type");
  if (type == object.end() || !type->is_string()) return bad("no record_type; is this a recording of loads?");
  const bool is_meta = *type == "eplb_load_meta", is_stats = *type == "eplb_load_stats";
  if (!is_meta && !is_stats) return std::optional<load_record>{};
  if (const auto version = object.find("version"); version != object.end() && *version != 1) {
    return fail(errc::version_mismatch,
                lines.where() + ": record version " + version->dump() + "; this program reads version 1");
  }
  if (is_meta) {
    if (auto ok = take_meta(object); !ok) return fail(ok.error());
    return std::optional<load_record>{};
  }
  auto record = take_stats(object);
  if (!record) return fail(record.error());
  return std::optional<load_record>(std::move(*record));
}

result<std::optional<load_record>> load_record_reader::impl::read() {
  if (failed) return fail(*failed);
  while (true) {
    auto more = lines.next(line);
    if (!more) {
      failed = more.error();
      return fail(*failed);
    }
    if (!*more) return std::optional<load_record>{};
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto record = read_line();
    if (!record) failed = record.error();
    if (!record || *record) return record;
  }
}

load_record_reader::load_record_reader(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
load_record_reader::load_record_reader(load_record_reader&&) noexcept = default;
load_record_reader& load_record_reader::operator=(load_record_reader&&) noexcept = default;
load_record_reader::~load_record_reader() = default;

result<load_record_reader> load_record_reader::open(const std::string& path, std::uint32_t max_layers) {
  auto lines = line_reader::open(path);
  if (!lines) return fail(lines.error());
  auto state = std::make_unique<impl>(std::move(*lines));
  state->max_layers = max_layers;
  auto first = state->read();
  if (!first) return fail(first.error());
  if (!*first) return fail(errc::malformed, path + ": no eplb_load_stats record; is this a recording of loads?");
  state->waiting = std::move(*first);
  return load_record_reader(std::move(state));
}

const load_meta& load_record_reader::meta() const noexcept { return impl_->meta; }

result<std::optional<load_record>> load_record_reader::next() {
  if (impl_->waiting) return std::exchange(impl_->waiting, std::nullopt);
  return impl_->read();
}

result<load_recording> read_load_records(const std::string& path, std::uint32_t max_layers, std::size_t max_records) {
  auto reader = load_record_reader::open(path, max_layers);
  if (!reader) return fail(reader.error());
  load_recording recording;
  while (max_records == 0 || recording.records.size() < max_records) {
    auto record = reader->next();
    if (!record) return fail(record.error());
    if (!*record) break;
    recording.records.push_back(std::move(**record));
  }
  recording.meta = reader->meta();
  return recording;
}

}  // namespace ballast::policies
