#include "coordinator/read_start.hpp"

#include <fmt/format.h>

#include "policies/formats/read_recorded.hpp"

namespace ballast {

result<cluster::recorded_start> read_start(const std::string& path) {
  auto read = policies::read_recorded_loads(path);
  if (!read)
    return fail(read.error().code,
                fmt::format("read_stats: {}; name a recording of loads, or leave read_stats out", read.error().text));
  return cluster::recorded_start{path, std::move(read->recorded)};
}

}  // namespace ballast
