// What changing from one placement to another writes, and over which links.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/placement.hpp"

namespace ballast::offline {

struct node_traffic {
  std::uint64_t received = 0;     // slots written on the node's ranks
  std::uint64_t from_others = 0;  // of them without a copy on the node before
};

struct move_count {
  std::uint64_t moves = 0;  // slots whose expert was not on that rank before
  std::uint64_t across_nodes = 0;
  std::uint64_t max_receiver = 0;  // slots that the busiest rank gets, over all layers
  std::uint64_t layers = 0;        // that change
  std::vector<node_traffic> nodes;
};

// `seats` has every seat of both.
move_count count_moves(const placement& before, const placement& after, const std::vector<policies::seat_info>& seats);

}  // namespace ballast::offline
