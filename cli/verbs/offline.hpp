// The verbs that need no deployment: recorded loads and placements, of any engine, from files to files.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "cli/offline/cost_model.hpp"
#include "cli/offline/topology.hpp"
#include "messages/result.hpp"
#include "policies/formats/file_format.hpp"

namespace ballast {

struct recording_options {
  std::string stats = "-";   // file, or - for standard input
  std::string stats_format;  // empty: as the content shows
  std::uint32_t first_dense_layers = 0;
};

struct plan_verb_options {
  recording_options recording;
  offline::topology_options topology;
  std::string policy;            // empty: economy from a placement, else fresh
  std::string from_map;          // placement in use; empty: the recording's own, or an even layout
  std::string from_format;       // empty: as the content shows
  std::uint32_t from_ranks = 0;  // of a placement that does not say it; 0: as many as are planned for
  std::string format = "ballast";
  std::string interval = "all";  // records planned from: the last so many
  std::string out;               // file, - for standard output; empty: - unless that is a terminal
  std::string shares = "even";   // or solved: for the loads planned from
  std::uint32_t threads = 1;
  offline::bundle_options bundle;
  bool json = false;
};

struct simulate_options {
  recording_options recording;
  std::uint32_t ranks = 0, nodes = 1;
  std::uint64_t records = 0;                 // replay only the first so many; 0: all
  std::vector<std::string> policies = {"economy"};
  std::vector<std::uint32_t> intervals;  // records; empty: as the recording says, or 8
  std::vector<std::uint32_t> redundant = {0};
  std::vector<std::string> shares = {"even"};  // even, interval, record
  std::vector<std::string> trigger = {"off"};  // off, on
  offline::cost_model cost;
  offline::bundle_options bundle;
  std::uint32_t threads = 0;  // 0: as many as there are processors
  std::string json_file;      // empty: none; - for standard output
  bool with_load = false;
};

struct convert_options {
  std::string in = "-", out = "-";
  std::string from_format, format = "ballast";
  std::uint32_t ranks = 0, first_dense_layers = 0;
  bool loads = false;  // the input's loads, not its placement
};

// Where a verb shows what; `terminal` says whether that is one.
struct screen {
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false, err_is_terminal = false;
};

namespace verbs {

// Loads in, placement out, and a table of what it brings: on standard error where the placement goes to standard
// output.
status plan(const plan_verb_options& options, const screen& to);
// Recorded loads replayed through the planner: one row for each setting.
status simulate(const simulate_options& options, const screen& to);
// Loads or a placement from one form to another.
status convert(const convert_options& options, const screen& to);

}  // namespace verbs
}  // namespace ballast
