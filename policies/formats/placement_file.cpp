#include "policies/formats/placement_file.hpp"

#include "policies/formats/json_tree.hpp"
#include "policies/formats/map_parsers.hpp"
#include "policies/formats/yaml_tree.hpp"

namespace ballast::policies {

namespace {

// Reads values until the end; keeps the last placement.
class map_reader {
 public:
  map_reader(byte_source& source, const map_options& options)
      : source_(source), options_(options), stats_(load_options{}) {}

  result<map_file> json() {
    for (;;) {
      auto value = next_json(source_);
      if (!value) return fail(value.error());
      if (!*value) return finish();
      if (!(*value)->is_map()) return bad((*value)->line, "not a JSON object; is this a placement?");
      if (auto ok = take(**value); !ok) return fail(ok.error());
    }
  }

  result<map_file> yaml() {
    auto value = read_yaml(source_);
    if (!value) return fail(value.error());
    if (!value->is_map())
      return bad(value->line, "no placement; expected JSON, or YAML with initial_global_assignments");
    if (auto ok = keep(*value, file_format::trtllm, parse_trtllm(*value)); !ok) return fail(ok.error());
    return finish();
  }

 private:
  tl::unexpected<error> bad(std::uint64_t line, const std::string& what) const {
    return fail(errc::malformed, source_.where(line) + ": " + what);
  }

  status take(const node& value) {
    if (const auto* type = value.find("record_type"); type != nullptr && type->is_text()) return record(value, *type);
    if (value.find("physical_to_logical_map") != nullptr)
      return keep(value, file_format::sglang, parse_sglang(value, options_.first_dense_layers));
    if (value.find("layer_list") != nullptr) return keep(value, file_format::vllm_ascend, parse_ascend(value));
    if (value.find("initial_global_assignments") != nullptr)
      return keep(value, file_format::trtllm, parse_trtllm(value));
    if (value.find("logical_count") != nullptr)
      return bad(value.line, "has logical_count: loads, not a placement; give it to --stats");
    return bad(value.line, "no placement of any known form; see docs/PLANNING.md");
  }

  status record(const node& value, const node& type) {
    const bool mapping = type.text == "eplb_initial_mapping", ours = type.text == "ballast_placement";
    const bool meta = type.text == "eplb_load_meta", stats = type.text == "eplb_load_stats";
    if (!mapping && !ours && !meta && !stats) return {};
    if (const auto* version = value.find("version"); version != nullptr && version->number != 1)
      return fail(errc::version_mismatch,
                  source_.where(value.line) + ": record version is not 1, which this program reads");
    if (mapping) return keep(value, file_format::vllm, parse_vllm_mapping(value));
    if (ours) return keep(value, file_format::ballast, parse_ballast(value));
    recorded_ = true;
    if (meta) {
      if (auto ok = stats_.take_meta(value); !ok) return bad(ok.error().line, ok.error().text);
      return {};
    }
    if (const auto* map = value.find("p2l_map"); map == nullptr || map->is_null()) return {};
    if (auto ok = stats_.take_stats(value); !ok) return bad(ok.error().line, ok.error().text);
    expert_map lay;
    lay.model = stats_.meta.model;
    lay.fingerprint = stats_.meta.fingerprint;
    lay.experts = stats_.meta.experts;
    lay.ranks = stats_.meta.ranks;
    lay.nodes = stats_.meta.nodes;
    lay.layers = stats_.last_map;
    return keep(value, options_.format == file_format::ballast ? file_format::ballast : file_format::vllm, lay);
  }

  status keep(const node& value, file_format is, parsed_map map) {
    if (!map) return bad(map.error().line, map.error().text);
    if (options_.format != file_format::automatic && options_.format != is) {
      return bad(value.line, std::string("holds a placement as ") + to_string(is) + " writes it, not " +
                                 to_string(options_.format) + "; leave the format out");
    }
    if (options_.first_dense_layers != 0 && map->first_layer != 0 && map->first_layer != options_.first_dense_layers) {
      return bad(value.line, "layers begin with " + std::to_string(map->first_layer) + ", not with " +
                                 std::to_string(options_.first_dense_layers) + "; leave --first-dense-layers out");
    }
    if (options_.ranks != 0 && map->ranks != 0 && options_.ranks != map->ranks) {
      return fail(errc::invalid_argument, source_.where(value.line) + ": is for " + std::to_string(map->ranks) +
                                              " ranks, not for " + std::to_string(options_.ranks));
    }
    if (map->ranks == 0) map->ranks = options_.ranks;
    if (auto ok = check(*map); !ok) return bad(value.line, ok.error().text);
    found_ = {std::move(*map), is};
    return {};
  }

  result<map_file> finish() {
    if (found_.format != file_format::automatic) return std::move(found_);
    return bad(source_.line(), recorded_
                                   ? "loads without p2l_map, no placement; they are for --stats, or convert --loads"
                                   : "no placement; is this the right file?");
  }

  byte_source& source_;
  const map_options& options_;
  stats_parser stats_;
  map_file found_;
  bool recorded_ = false;
};

}  // namespace

result<map_file> read_expert_map(const std::string& path, const map_options& options) {
  auto source = byte_source::open(path);
  if (!source) return fail(source.error());
  const int first = (*source)->skip_space();
  if ((*source)->failure()) return fail(*(*source)->failure());
  if (first == 'P')
    return fail(errc::malformed, (*source)->where(1) + ": looks like a PyTorch file; save it as JSON (tolist())");
  map_reader reader(**source, options);
  if (first < 0) return fail(errc::malformed, (*source)->where(1) + ": is empty; name a placement");
  if (first == '{' || first == '[') return reader.json();
  return reader.yaml();
}

}  // namespace ballast::policies
