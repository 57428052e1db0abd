// The `incremental` policy for one layer: made legal with the least harm, then improved change by change at the slowest
// seat. Private to policies/. Pure, deterministic.
#pragma once

#include <cstddef>

#include "policies/layer_state.hpp"

namespace ballast::policies {

// Every expert at least once, nobody above room, at most `replicas_max` in all (>= experts; the rooms hold it). Takes
// away what harms least; places missing experts, heaviest first, where they end soonest.
void make_legal(layer_state& layer, std::size_t replicas_max);

// From an empty layer: copies for the heaviest, then longest-processing-time first.
void pack_fresh(layer_state& layer, std::size_t replicas_max);

struct search_limits {
  std::size_t replicas_max = 0;
  double target = 1.0;  // peak to average at which to stop
  std::size_t changes_max = 0;
  bool copies_cost = true;  // false: nothing is there yet, so every change costs the same
  bool may_shrink = true;   // give up redundant copies where that helps
};

// Each change lowers the slowest seat it touches: drop, move, add, exchange a redundant copy, swap. Picks what removes
// most of the load beyond target per weight copied; a tail of changes that gained next to nothing is taken back.
void improve(layer_state& layer, const search_limits& limits);

}  // namespace ballast::policies
