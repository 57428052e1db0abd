// Local search on one layer whose shares are solved anew for whatever load comes: the counterpart of improve(), with
// the same changes, prices and limits. What counts is the load of the ranks after the best division in each snapshot,
// so spare copies go where they join ranks that heat up at different times. Private to policies/.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/dense_layer.hpp"
#include "policies/dense_search.hpp"
#include "policies/shares_flow.hpp"

namespace ballast::policies {

// Memory for the search; once a thread.
struct shared_space {
  share_graph graph;
  share_flow flow;
  std::vector<std::uint32_t> expert_of_choice, choice_of_expert;
  std::vector<double> choice_load, base, speed;     // [snapshot][choice], [snapshot][rank], [rank]
  std::vector<float> level, pace, ranks_of;         // [rank][row] of its class: load / speed, 1 / speed, ranks
  std::vector<float> count;                         // [class] its ranks, in one snapshot
  std::vector<std::int32_t> of_rank;                // [rank][row] class
  std::vector<float> least, most;                   // [lane][row] what leaves the rank's class with the replica
  std::vector<float> even_out, lose, win, nothing;  // [row] between two ranks
  std::vector<float> write_price;
  std::vector<std::uint8_t> quiet;
  std::vector<std::uint32_t> best_experts;  // [lane] the last state no worse than the start on snapshot 0
};

// After start(). `enough`: peak on snapshot 0 at which the layer is left as it is. Returns the number of changes.
std::uint32_t improve_shared(dense_layer& layer, const search_limits& limits, float enough, shared_space& space);

}  // namespace ballast::policies
