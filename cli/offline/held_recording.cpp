#include "cli/offline/held_recording.hpp"

#include <fmt/format.h>

#include "cli/offline/progress.hpp"

namespace ballast::offline {
namespace {

constexpr std::uint64_t numbers_max = std::uint64_t{1} << 27;

}  // namespace

result<policies::load_recording> hold_recording(const recording_source& from, std::ostream* terminal) {
  policies::load_options how{.first_dense_layers = from.first_dense_layers};
  if (!from.format.empty()) {
    const auto named = policies::file_format_of(from.format);
    if (!named) return fail(named.error());
    how.format = *named;
  }
  auto reader = policies::load_record_reader::open(from.file, how);
  if (!reader) return fail(reader.error());
  progress bar(terminal, "records read");
  policies::load_recording out;
  while (from.records == 0 || out.records.size() < from.records) {
    auto record = reader->next();
    if (!record) return fail(record.error());
    if (!*record) break;
    const auto held = out.records.size();
    if ((held + 1) * reader->meta().layers * reader->meta().experts > numbers_max) {
      return fail(errc::does_not_fit,
                  fmt::format("{}: {} records fill the {} GiB that a replay may hold; replay fewer with --records {}",
                              from.file, held, (numbers_max * sizeof(double)) >> 30, held));
    }
    out.records.push_back({(*record)->step, std::move((*record)->tokens), 0, {}, {}, {}});
    bar.at(out.records.size(), 0);
  }
  out.meta = reader->meta();
  return out;
}

}  // namespace ballast::offline
