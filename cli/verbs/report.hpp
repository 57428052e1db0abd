// `ballast report`: recorded loads, simulations, or both, as one HTML page that loads nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/verbs/offline.hpp"

namespace ballast {

struct report_options {
  std::vector<std::string> stats;        // recorded loads
  std::vector<std::string> simulations;  // what ballast simulate --json wrote
  std::string stats_format;              // empty: as the content shows
  std::uint32_t first_dense_layers = 0;
  std::uint64_t records = 0;  // replay only the first so many; 0: all
  std::uint32_t ranks = 0, nodes = 1;
  std::vector<std::string> policies = {"economy"};
  std::vector<std::uint32_t> intervals;  // records; empty: as the recording says, or 8
  std::vector<std::uint32_t> redundant = {0};
  std::vector<std::string> shares = {"even"};
  offline::bundle_options bundle;
  std::string out;  // file, or - for standard output
};

namespace verbs {
// At most 8 runs (recordings x settings) are replayed for one page. Errors: of reading, of planning; invalid_argument.
status report(const report_options& options, const screen& to);
}  // namespace verbs

}  // namespace ballast
