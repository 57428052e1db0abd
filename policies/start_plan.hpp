// Planning from recorded loads: records folded, in bounded memory, into what placement_problem looks at, and a start
// placement for whatever seats there are. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "messages/result.hpp"
#include "policies/placement.hpp"

namespace ballast::policies {

struct recorded_loads {
  load_matrix loads;     // of the interval planned from
  load_history history;  // its parts, and the intervals before it
  std::uint64_t records = 0;
};

// sum += tokens; an empty sum becomes tokens.
void add_loads(load_matrix& sum, const load_matrix& tokens);

// Records one after the other, all of one shape. Holds at most intervals_max + 1 intervals in parts_max chunks each,
// however many records come; a chunk is a sum of neighbouring records.
class load_folder {
 public:
  static constexpr std::size_t parts_max = 8;
  static constexpr std::size_t intervals_max = snapshot_weights{}.changes_max;  // what plans look back at

  // `interval`: the last so many records are planned from, and runs of as many before them are history; 0: all records
  // are.
  explicit load_folder(std::uint64_t interval = 0);
  void add(const load_matrix& tokens);
  recorded_loads take() &&;  // no records: empty matrices

 private:
  struct chunk {
    load_matrix tokens;
    std::uint64_t records = 0;
  };
  void halve();

  std::uint64_t interval_;
  std::uint64_t grain_;  // records of a chunk
  std::deque<chunk> chunks_;
  std::uint64_t records_ = 0;
};

// A placement for the seats of `problem` from recorded loads: its loads and history are taken from the recording,
// everything else stands as given. Errors: invalid_argument where the recording has another shape than problem.layers x
// problem.experts (both are named), and those of place().
result<placement> plan_start(const recorded_loads& recorded, placement_problem problem, const std::string& policy);

}  // namespace ballast::policies
