// Reading recorded expert loads of any engine: JSON Lines with one `eplb_load_meta` record (may be absent) and
// `eplb_load_stats` records, where unknown record types are skipped; or SGLang's document with `logical_count`. Plain
// or gzip. Columns of `expert_load` are logical experts, or physical ones with `p2l_map`, which are then folded onto
// logical ones. docs/PLANNING.md has the fields.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"
#include "policies/formats/expert_map.hpp"
#include "policies/formats/file_format.hpp"

namespace ballast::policies {

// What the recording says of itself; 0 or empty where it says nothing. `layers` counts the layers that are delivered.
struct load_meta {
  std::string model, fingerprint;
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
  // Of Ballast's own recordings, else 0 or empty; rank loads also of physical columns of known ranks.
  step_t first_step = 0;             // the record covers first_step..step
  std::vector<std::uint32_t> seats;  // in the order of the two below
  load_matrix rank_load;             // [layer][seat] tokens that each rank really got
  std::vector<double> step_ms;       // [seat] time of a step
};

struct load_recording {
  load_meta meta;
  std::vector<load_record> records;
  std::optional<expert_map> map;  // of the last record that has p2l_map
};

struct load_options {
  std::uint32_t max_layers = 0;          // deliver only the first ones; 0: all
  std::uint32_t first_dense_layers = 0;  // leave out so many before them: SGLang counts decoder layers
  file_format format = file_format::automatic;
};

// One record at a time. Holds one record, however long the file is (SGLang's document is one); a record may have 2^24
// numbers. "-" is standard input. One thread.
// Errors: io (cannot be read), malformed (file, line and what is wrong there), version_mismatch. After an error: no
// more.
class load_record_reader {
 public:
  // Reads up to the first stats record, so that meta() is complete.
  static result<load_record_reader> open(const std::string& path, const load_options& options = {});
  load_record_reader(load_record_reader&&) noexcept;
  load_record_reader& operator=(load_record_reader&&) noexcept;
  ~load_record_reader();

  const load_meta& meta() const noexcept;
  result<std::optional<load_record>> next();  // nullopt at the end of the file

  // Where experts lay during the last record delivered, if it said so; ranks as far as known.
  std::optional<expert_map> map() const;
  file_format format() const noexcept;  // what the content is

 private:
  struct impl;
  explicit load_record_reader(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

// The whole file, or its first max_records. A file without any stats record is an error.
result<load_recording> read_load_records(const std::string& path, const load_options& options = {},
                                         std::size_t max_records = 0);

}  // namespace ballast::policies
