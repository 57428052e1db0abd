#include "policies/formats/read_recorded.hpp"

namespace ballast::policies {

result<recorded_file> read_recorded_loads(const std::string& path, std::uint64_t interval,
                                          const load_options& options) {
  auto reader = load_record_reader::open(path, options);
  if (!reader) return fail(reader.error());
  load_folder folder(interval);
  for (;;) {
    auto record = reader->next();
    if (!record) return fail(record.error());
    if (!*record) break;
    folder.add((*record)->tokens);
  }
  return recorded_file{reader->meta(), std::move(folder).take(), reader->map(), reader->format()};
}

}  // namespace ballast::policies
