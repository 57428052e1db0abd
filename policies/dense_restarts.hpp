// Small layers have few good placements and deep local optima: search again from disturbed states. Private to
// policies/.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/dense_search.hpp"

namespace ballast::policies {

// How often a layer of so many slots is worth searching again; 0 for large ones.
std::uint32_t restarts_for(std::uint32_t slots);

// From the layer's state, which improve() left: the best found is written to `slots` (rank-major, as read() gives it).
// Deterministic. Returns the number of changes.
std::uint32_t search_again(dense_layer& layer, const search_limits& limits, search_space& space, std::uint32_t times,
                           std::vector<std::int32_t>& slots);

}  // namespace ballast::policies
