// Recorded loads in memory, for replays, which look at all records many times over.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "policies/formats/load_records.hpp"

namespace ballast::offline {

inline constexpr std::uint32_t usual_interval = 8;  // records in one, where neither the user nor the file says

struct recording_source {
  std::string file;    // or - for standard input
  std::string format;  // empty: as the content shows
  std::uint32_t first_dense_layers = 0;
  std::uint64_t records = 0;  // only the first so many; 0: all
};

// Loads alone: what ranks got and how long steps took is left out. `terminal` (or null) shows how far it is. Errors:
// those of load_record_reader; not_found (format); does_not_fit where more than 1 GiB would be held.
result<policies::load_recording> hold_recording(const recording_source& from, std::ostream* terminal);

}  // namespace ballast::offline
