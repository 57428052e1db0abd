// A recording of loads, of any engine and length, as what a placement is planned from.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "policies/formats/load_records.hpp"
#include "policies/start_plan.hpp"

namespace ballast::policies {

struct recorded_file {
  load_meta meta;
  recorded_loads recorded;
  load_matrix rank_load;          // [layer][rank] over all records; empty where they do not say it or ranks changed
  std::optional<expert_map> map;  // of the last record, if it says where experts lay
  file_format format = file_format::automatic;
};

// Reads the whole file in bounded memory (load_folder). `interval`: plan from the last so many records, with the ones
// before them as history; 0: from all. Errors: those of load_record_reader.
result<recorded_file> read_recorded_loads(const std::string& path, std::uint64_t interval = 0,
                                          const load_options& options = {},
                                          const std::function<void(std::uint64_t records)>& progress = {});

}  // namespace ballast::policies
