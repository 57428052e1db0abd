// A recording replayed through the planner: after each interval a plan from what was seen, judged by that interval and
// by the next one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/policies/planner_goals_traces.hpp"

namespace ballast::policies::goals {

enum class shares_t : std::uint8_t {
  even,    // tokens split evenly over replicas
  once,    // one table an interval: solved for the last interval, its end counting most
  served,  // solved again and again: for the load that is judged
};

struct way {  // how to plan
  plan_options options;
  std::optional<plan_options> first;  // of the plan that is warm-up, if it is another one
  bool history = true;                // beyond the last interval
  shares_t shares = shares_t::even;
  bool foresight = false;   // plans for the next interval as if it had been seen, and for nothing else
  std::size_t samples = 0;  // layers of rebalances to keep for bounds, at most
};

struct sample {  // a layer before a rebalance
  std::vector<std::int32_t> held;
  const double* next = nullptr;  // loads that the plan will be judged by
};

struct figures {
  double plan_mean = 0, plan_max = 0;  // peak to average on the interval planned from
  double next_mean = 0, next_max = 0;  // on the next one
  double moved = 0;                    // part of the slots whose expert was not on that rank before
  double busiest = 0;  // what the busiest rank receives over the mean; mean of the rebalances with 4 slots a rank
  double plan_ms = 0;  // CPU time of the process, median
  std::vector<std::string> faults;  // of legality, or a layer that got worse
  std::vector<sample> samples;      // evenly spread over layers and rebalances
};

// Errors: those of planner::make.
result<figures> replay(const scenario& s, const trace& t, const way& how);

// The published heuristic in its own plan, whole: for reference. `groups`: 1 makes it the global one.
result<figures> replay_deepseek(const scenario& s, const trace& t, std::uint32_t groups);

struct share_figures {
  double us_a_layer = 0, worst_gap = 0;
};
// Shares of A's layers for the next interval's loads, again and again.
result<share_figures> time_shares(const scenario& s, const trace& t);

double cpu_ms();  // of the process so far
double median(std::vector<double> values);

}  // namespace ballast::policies::goals
