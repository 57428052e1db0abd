// Whether a rebalance pays: the time it saves over the horizon against the time that its copies cost. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ballast::policies {

struct benefit_question {
  double imbalance_before = 1, imbalance_after = 1;  // mean over layers, the current and the planned placement
  double imbalance_share = 1;                        // part of a step that grows with the imbalance, 0 to 1
  double step_seconds = 0;                           // measured; 0: not known yet
  std::uint64_t horizon_steps = 0;                   // for how long the plan is expected to hold
  std::uint64_t pages = 0;      // copies to make, on the busiest receiver (waves run side by side on the others)
  double seconds_per_page = 0;  // measured, from staged to verified
  double slowdown = 0;          // how much longer a step takes while copies are under way: 0.1 = 10 %
  double hysteresis = 0.2;      // gain must exceed the cost by this part of it, unless `was_paying`
  double least_gain = 0.002;    // of the step time; below it nothing is moved
  bool was_paying = false;      // the last answer for this model, which the same figures shall not flip
};

struct benefit_answer {
  bool pays = false;
  double gain = 0, cost = 0;  // parts of the horizon's time, 0.01 = 1 %
  std::string text;           // one line: "rebalance skipped: gain 0.8 % < cost 1.1 % over 3000 steps"
};

// Step time goes with the peak, so balancing saves imbalance_share * (1 - after / before) of it, from when the copies
// are made to the end of the horizon. Without measured times the cost is taken as 0 and only least_gain decides.
benefit_answer net_benefit(const benefit_question& q);

// What a plan does to one layer.
struct layer_change {
  double before = 1, after = 1;  // its imbalance
  std::uint64_t pages = 0;       // copies on the receiver that gets most
};

// Which layers are worth their copies, each weighed like a plan of its own: the time it saves over the horizon against
// the time that its copies slow the steps down. A step takes as long as its layers do, so a layer saves imbalance_share
// * (before - after) / (sum of all before). A layer that falls by less than least_gain stays as it is; one without
// copies always pays. The question's own imbalances and pages are not looked at.
std::vector<bool> layers_that_pay(const benefit_question& q, const std::vector<layer_change>& layers);

}  // namespace ballast::policies
