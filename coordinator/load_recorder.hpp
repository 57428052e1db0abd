// Loads as they are recorded on a running system: gzip-compressed JSON Lines in the form of `eplb_load_meta` and
// `eplb_load_stats` records (logical columns), which policies/load_records.hpp and other engines' tools read. Fields of
// our own: first_step, seats, rank_load [layer][seat] (tokens that each seat received) and step_ms [seat].
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "coordinator/cluster_machine.hpp"
#include "messages/result.hpp"

namespace ballast {

struct recorder_options {
  std::string path;  // of model 0; other models write beside it, with their name in the file's
  std::uint64_t file_bytes = std::uint64_t{256} << 20;  // a file that has grown to it is put aside as PATH.1, PATH.2, …
  std::uint32_t files = 4;                              // kept of each model, the one being written included
};

// One thread (the recorder actor's). What was there under the names before is put aside, never overwritten at once.
class load_recorder {
 public:
  explicit load_recorder(recorder_options options);
  load_recorder(load_recorder&&) noexcept;
  load_recorder& operator=(load_recorder&&) noexcept;
  ~load_recorder();  // closes every file

  // Written and flushed, down to the operating system, when it returns: a process that is killed later leaves files
  // that can be read to here. Errors: io, once; from then on nothing is written.
  status append(const cluster::recorded_interval& what);

 private:
  class file;
  recorder_options options_;
  std::map<model_index, std::unique_ptr<file>> files_;
  bool failed_ = false;
};

// What may wait for the recorder: at most `most` intervals. Beyond it they are left out, which is said once when it
// begins and once, with their number, when the recorder keeps up again.
class recording_gate {
 public:
  static constexpr std::size_t most = 64;
  // Whether one more may wait beside `waiting`; `line`: for the log, empty if there is nothing to say.
  bool admits(std::size_t waiting, std::string& line);

 private:
  std::uint64_t left_out_ = 0;
};

// Whether a file can be made there. Errors: io, with path and reason.
status check_recording(const std::string& path);

}  // namespace ballast
