// Recordings cut into rebalance intervals, and the scenarios the planner's goals are stated for.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "policies/planner.hpp"

namespace ballast::policies::goals {

using snapshot = std::vector<double>;  // [layer][expert] tokens

struct trace {
  std::uint32_t layers = 0, experts = 0, groups = 1;
  std::uint32_t parts_each = 1;  // of an interval
  std::vector<snapshot> parts, intervals;
};

// One model on some ranks. `files`: traces whose layers are stacked; cut off at `layers` unless 0.
struct scenario {
  std::string name;
  std::array<std::string, 2> files;  // for each of the seeds there are; the second may be missing: ""
  std::uint32_t ranks, nodes, slots;
  std::uint32_t stacked_layers = 0;  // of the first file and then the second one
};

const std::vector<scenario>& scenarios();

class trace_store {
 public:
  explicit trace_store(std::string folder) : folder_(std::move(folder)) {}
  // Errors: not_found (names the file), those of the reader. `other_seed`: the second file in place of the first.
  result<const trace*> of(const scenario& s, bool other_seed);

 private:
  result<const trace*> load(const std::string& file);
  std::string folder_;
  std::map<std::string, trace> loaded_;
};

plan_shape shape_of(const scenario& s, const trace& t);

// What is known when interval `now` has passed: it, its parts, and all before.
recent_loads seen_at(const trace& t, std::size_t now);

}  // namespace ballast::policies::goals
