#include "policies/formats/load_records.hpp"

#include <deque>

#include "policies/formats/json_tree.hpp"
#include "policies/formats/stats_parser.hpp"

namespace ballast::policies {

struct load_record_reader::impl {
  impl(std::unique_ptr<byte_source> from, const load_options& options)
      : source(std::move(from)), wanted(options.format), parser(options) {}

  std::unique_ptr<byte_source> source;
  file_format wanted;
  stats_parser parser;
  file_format found = file_format::automatic;
  std::deque<load_record> waiting;  // read, not yet delivered
  std::optional<error> failed;

  tl::unexpected<error> bad(std::uint64_t line, const std::string& what) const {
    return fail(errc::malformed, source->where(line) + ": " + what);
  }
  tl::unexpected<error> bad(const stats_parser::fault& fault) const { return bad(fault.line, fault.text); }

  status read();
  status take(const node& value);
  status take_record(const node& value, const node& type);
  status take_document(const node& counts);
  status take_format(const node& value, file_format is);
};

// The content must be what was asked for; vllm and ballast read each other.
status load_record_reader::impl::take_format(const node& value, file_format is) {
  if (found == file_format::automatic) found = is;
  const bool lines = is != file_format::sglang;
  const bool wanted_lines = wanted == file_format::vllm || wanted == file_format::ballast;
  if (wanted == file_format::automatic || (lines ? wanted_lines : wanted == file_format::sglang)) return {};
  return fail(errc::malformed, source->where(value.line) + ": holds loads as " + to_string(is) + " writes them, not " +
                                   to_string(wanted) + "; leave the format out");
}

status load_record_reader::impl::take_document(const node& counts) {
  if (!counts.is_list() || counts.items.empty())
    return bad(counts.line, "logical_count is not a table [layer][expert]");
  const bool series = counts.items[0].is_list() && !counts.items[0].items.empty();  // [record][layer][expert]
  const auto records = series ? counts.items.size() : 1;
  for (std::size_t i = 0; i < records; ++i) {
    auto record = parser.take_count(series ? counts.items[i] : counts);
    if (!record) return bad(record.error());
    record->step = i + 1;
    waiting.push_back(std::move(*record));
  }
  return {};
}

status load_record_reader::impl::take_record(const node& value, const node& type) {
  const bool is_meta = type.text == "eplb_load_meta", is_stats = type.text == "eplb_load_stats";
  if (!is_meta && !is_stats) return {};
  if (const auto* version = value.find("version"); version != nullptr && version->number != 1) {
    const auto number = version->is_whole() ? std::to_string(static_cast<std::int64_t>(version->number)) : "unknown";
    return fail(errc::version_mismatch, source->where(value.line) + ": record version " + number +
                                            "; this program reads version 1, record again with that one");
  }
  const bool ours = value.find("fingerprint") != nullptr || value.find("seats") != nullptr;
  if (auto ok = take_format(value, ours ? file_format::ballast : file_format::vllm); !ok) return ok;
  if (is_meta) {
    if (auto ok = parser.take_meta(value); !ok) return bad(ok.error());
    return {};
  }
  auto record = parser.take_stats(value);
  if (!record) return bad(record.error());
  waiting.push_back(std::move(*record));
  return {};
}

status load_record_reader::impl::take(const node& value) {
  if (!value.is_map()) return bad(value.line, "not a JSON object; expected one record a line");
  if (const auto* type = value.find("record_type"); type != nullptr && type->is_text())
    return take_record(value, *type);
  if (const auto* counts = value.find("logical_count"); counts != nullptr) {
    if (auto ok = take_format(value, file_format::sglang); !ok) return ok;
    return take_document(*counts);
  }
  for (const char* key : {"physical_to_logical_map", "layer_list", "initial_global_assignments"}) {
    if (value.find(key) != nullptr)
      return bad(value.line, std::string("has ") + key + ": a placement, not loads; give it to --from-map");
  }
  return bad(value.line, "no record_type; is this a recording of loads?");
}

// Values until a record waits, or the end.
status load_record_reader::impl::read() {
  if (failed) return fail(*failed);
  while (waiting.empty()) {
    auto value = next_json(*source);
    auto taken = value ? (*value ? take(**value) : status{}) : status(fail(value.error()));
    if (!taken) {
      failed = taken.error();
      return taken;
    }
    if (!*value) break;
  }
  return {};
}

load_record_reader::load_record_reader(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
load_record_reader::load_record_reader(load_record_reader&&) noexcept = default;
load_record_reader& load_record_reader::operator=(load_record_reader&&) noexcept = default;
load_record_reader::~load_record_reader() = default;

result<load_record_reader> load_record_reader::open(const std::string& path, const load_options& options) {
  auto source = byte_source::open(path);
  if (!source) return fail(source.error());
  if ((*source)->skip_space() == 'P') {
    return fail(errc::malformed, path + ":1: looks like a PyTorch file; save it as JSON (tolist())");
  }
  if (const int first = (*source)->skip_space(); first >= 0 && first != '{' && first != '[') {
    return fail(errc::malformed,
                (*source)->where((*source)->line()) +
                    ": no recorded loads, which are JSON Lines or SGLang's document; name such a file");
  }
  auto state = std::make_unique<impl>(std::move(*source), options);
  if (auto ok = state->read(); !ok) return fail(ok.error());
  if (state->waiting.empty())
    return fail(errc::malformed, path + ": no eplb_load_stats record; is this a recording of loads?");
  return load_record_reader(std::move(state));
}

const load_meta& load_record_reader::meta() const noexcept { return impl_->parser.meta; }
file_format load_record_reader::format() const noexcept { return impl_->found; }

result<std::optional<load_record>> load_record_reader::next() {
  if (auto ok = impl_->read(); !ok) return fail(ok.error());
  if (impl_->waiting.empty()) return std::optional<load_record>{};
  std::optional<load_record> first(std::move(impl_->waiting.front()));
  impl_->waiting.pop_front();
  return first;
}

std::optional<expert_map> load_record_reader::map() const {
  if (impl_->parser.last_map.empty()) return std::nullopt;
  const auto& meta = impl_->parser.meta;
  expert_map out;
  out.model = meta.model;
  out.fingerprint = meta.fingerprint;
  out.experts = meta.experts;
  out.ranks = meta.ranks;
  out.nodes = meta.nodes;
  out.layers = impl_->parser.last_map;
  return out;
}

result<load_recording> read_load_records(const std::string& path, const load_options& options,
                                         std::size_t max_records) {
  auto reader = load_record_reader::open(path, options);
  if (!reader) return fail(reader.error());
  load_recording recording;
  while (max_records == 0 || recording.records.size() < max_records) {
    auto record = reader->next();
    if (!record) return fail(record.error());
    if (!*record) break;
    recording.records.push_back(std::move(**record));
    if (auto map = reader->map()) recording.map = std::move(map);
  }
  recording.meta = reader->meta();
  return recording;
}

}  // namespace ballast::policies
