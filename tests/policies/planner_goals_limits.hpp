// How far a goal for the next interval can be reached at all: by a plan made in knowledge of it, and by any plan
// whatsoever.
#pragma once

#include "tests/policies/planner_goals_replay.hpp"

namespace ballast::policies::goals {

struct limits {
  // Mean next PAR of the sampled layers, at the least, after any plan that writes no more than the allowed part of the
  // slots (mean over them) to the placements that our own run had then, even in knowledge of what comes.
  double bound = 1;
  std::size_t layers = 0;  // sampled
  figures knowing;         // our policy, planning for the next interval itself: what is lost by not knowing it
};

// `moved`: part of the slots, 1 and above: any. Errors: those of replay().
result<limits> limits_of(const scenario& s, const trace& t, way how, double moved);

}  // namespace ballast::policies::goals
