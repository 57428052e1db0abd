// Reading recorded expert loads: JSON Lines, plain or gzip, as serving engines write them for offline planning. One
// `eplb_load_meta` record (may be absent), then `eplb_load_stats` records; unknown record types are skipped.
// Columns of `expert_load` are logical experts, or physical ones with `p2l_map`, which are then folded onto logical
// ones.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"

namespace ballast::policies {

// What the recording says of itself; 0 or empty where it says nothing. `layers` counts the layers that are delivered.
struct load_meta {
  std::string model;
  std::uint32_t layers = 0;
  std::uint32_t experts = 0;  // logical, a layer
  std::uint32_t groups = 1;
  std::uint32_t top_k = 0;
  std::uint32_t redundant = 0;           // of the deployment that was recorded
  std::uint32_t ranks = 0, nodes = 0;    // likewise
  std::uint32_t steps_per_interval = 0;  // records that make one rebalance interval
};

struct load_record {
  step_t step = 0;
  load_matrix tokens;  // [layer][logical expert]
};

struct load_recording {
  load_meta meta;
  std::vector<load_record> records;
};

// One record at a time. Holds one line (at most 64 MiB) and one record, however long the file is. One thread.
// Errors: io (cannot be read), malformed (file, line and what is wrong there), version_mismatch. After an error: no
// more.
class load_record_reader {
 public:
  // Reads up to the first stats record, so that meta() is complete. max_layers > 0 delivers only the first layers.
  static result<load_record_reader> open(const std::string& path, std::uint32_t max_layers = 0);
  load_record_reader(load_record_reader&&) noexcept;
  load_record_reader& operator=(load_record_reader&&) noexcept;
  ~load_record_reader();

  const load_meta& meta() const noexcept;
  result<std::optional<load_record>> next();  // nullopt at the end of the file

 private:
  struct impl;
  explicit load_record_reader(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

// The whole file, or its first max_records. A file without any stats record is an error.
result<load_recording> read_load_records(const std::string& path, std::uint32_t max_layers = 0,
                                         std::size_t max_records = 0);

}  // namespace ballast::policies
