// A placement problem that was checked, its seats in order and its numbers settled; what every policy starts from, and
// the way from flat arrays back to a placement. Private to policies/.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/placement.hpp"
#include "policies/planner.hpp"

namespace ballast::policies {

struct prepared_problem {
  const placement_problem& problem;
  std::vector<seat_info> seats;     // by id
  std::vector<std::uint32_t> room;  // replicas a layer on each: no expert twice
  std::uint32_t slots = 0;          // sum of the rooms
  std::uint32_t replicas = 0;       // a layer, redundant ones included
  load_matrix loads;                // a layer without load: even

  std::uint32_t index(seat_id seat) const;  // seats.size() if it is none of them
};

// Errors: invalid_argument, does_not_fit.
result<prepared_problem> prepare(const placement_problem& problem);

// [layers][slots], seat by seat, -1 for an empty one: the replicas of `current` that are on these seats. Where a seat
// has more than it may hold, only copies and light experts are left out.
std::vector<std::int32_t> slots_of_current(const prepared_problem& p);

// One layer from its experts by seat: replicas that stay keep their slot, the others take the lowest free ones, shares
// are even.
layer_placement with_slots(const prepared_problem& p, std::size_t layer, const std::int32_t* slots);

}  // namespace ballast::policies
