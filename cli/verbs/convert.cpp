// `ballast convert`: loads or a placement from one engine's form to another's.
#include <fmt/format.h>

#include <ostream>

#include "cli/verbs/offline.hpp"
#include "policies/formats/load_records.hpp"
#include "policies/formats/load_writer.hpp"
#include "policies/formats/output_file.hpp"
#include "policies/formats/placement_file.hpp"

namespace ballast {
namespace {

using policies::file_format;

// A file that appears when it is whole, or standard output.
class sink {
 public:
  static result<sink> open(const std::string& path, std::ostream& out) {
    sink made(out);
    if (path == "-") return made;
    auto file = policies::output_file::open(path);
    if (!file) return fail(file.error());
    made.file_ = std::move(*file);
    return made;
  }
  status write(const std::string& text) {
    if (file_) return file_->write(text);
    *out_ << text;
    return {};
  }
  status commit() { return file_ ? file_->commit() : status{}; }

 private:
  explicit sink(std::ostream& out) : out_(&out) {}
  std::ostream* out_;
  std::optional<policies::output_file> file_;
};

status convert_loads(policies::load_record_reader& reader, const convert_options& options, file_format format,
                     std::ostream& out) {
  const auto head = policies::meta_line(reader.meta(), format);
  if (!head) return fail(head.error());
  auto to = sink::open(options.out, out);
  if (!to) return fail(to.error());
  if (auto ok = to->write(*head); !ok) return ok;
  for (;;) {
    const auto record = reader.next();
    if (!record) return fail(record.error());
    if (!*record) return to->commit();
    if (auto ok = to->write(policies::stats_line(**record, format)); !ok) return ok;
  }
}

status convert_map(const convert_options& options, file_format from, file_format format, std::ostream& out) {
  const auto read = policies::read_expert_map(options.in, {from, options.ranks, options.first_dense_layers});
  if (!read) return fail(read.error());
  const auto text = policies::text_of(read->map, format, options.first_dense_layers);
  if (!text) return fail(text.error());
  auto to = sink::open(options.out, out);
  if (!to) return fail(to.error());
  if (auto ok = to->write(*text); !ok) return ok;
  return to->commit();
}

}  // namespace

status verbs::convert(const convert_options& options, const screen& to) {
  const auto format = policies::file_format_of(options.format);
  if (!format) return fail(format.error());
  auto from = file_format::automatic;
  if (!options.from_format.empty()) {
    const auto named = policies::file_format_of(options.from_format);
    if (!named) return fail(named.error());
    from = *named;
  }
  if (options.loads) {
    auto reader = policies::load_record_reader::open(
        options.in, {.first_dense_layers = options.first_dense_layers, .format = from});
    if (!reader) return fail(reader.error());
    return convert_loads(*reader, options, *format, to.out);
  }
  return convert_map(options, from, *format, to.out);
}

}  // namespace ballast
