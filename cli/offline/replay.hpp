// Recorded loads replayed through the planner under one setting: after each interval a placement is planned from what
// was seen so far and judged by the next interval, which is what users see.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/offline/cost_model.hpp"
#include "cli/offline/share_modes.hpp"
#include "policies/formats/load_records.hpp"

namespace ballast::offline {

struct setting {
  std::string policy;
  std::uint32_t interval = 8;  // records between rebalances
  std::uint32_t redundant = 0;
  share_mode shares = share_mode::even;
  bool trigger = false;  // rebalance only when it pays
};

struct replay_input {
  const policies::load_recording& recording;
  std::uint32_t ranks = 0, nodes = 1;
  cost_model cost;  // with steps_per_record
  bool with_load = false;
};

// One plan and the interval after it. PAR: max / mean rank load of a layer; means are over layers.
struct rebalance {
  std::uint64_t record = 0;                // records seen when it was planned
  double par_before = 1, par_planned = 1;  // on the interval planned from: as it was, and as planned
  double par_stay = 1;                     // on the next interval, had nothing been changed
  double par_next = 1, par_next_p95 = 1, par_next_max = 1;
  double par_record = 1, par_stay_record = 1;  // means over the records of the next interval
  double par_static = 1;                       // par_record of an even layout without redundancy
  std::uint64_t moves = 0, across_nodes = 0, max_receiver = 0, layers_moved = 0;
  double copy_s = 0, step_ms = 0, copying = 0;
  bool pays = true;  // false: the trigger left it
  load_matrix load;  // [layer][rank] in the next interval, mean 1; only on request
  placement placed;  // what served it; likewise
};

struct run_summary {
  std::uint64_t rebalances = 0, skipped = 0;
  double par_planned = 1, par_next = 1, par_next_p95 = 1, par_next_max = 1, par_record = 1, par_static = 1;
  std::uint64_t moves = 0, across_nodes = 0;
  double moved = 0;  // part of all slots, a rebalance
  double step_ms = 0, step_ms_static = 0, gain = 0, cost = 0, plan_ms = 0;
};

struct run {
  setting with;
  std::uint32_t redundant = 0;        // as rounded up
  std::vector<rebalance> rebalances;  // the first one fills the ranks and counts in no mean
  run_summary summary;
};

// Errors: those of place() and topology_of(); invalid_argument where the recording has too few records.
result<run> replay(const replay_input& input, const setting& with);

// All of them, `threads` side by side; runs in the order of settings, equal for any number of threads but for plan_ms.
// `progress` is called from any of them. Error: of the first setting that has one.
result<std::vector<run>> replay_all(const replay_input& input, const std::vector<setting>& settings,
                                    std::uint32_t threads, const std::function<void(std::uint64_t done)>& progress);

}  // namespace ballast::offline
