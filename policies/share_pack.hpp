// A layer from nothing for shares that are solved: the redundant copies one to a rank, so that as many ranks as
// possible hang together and can even out what drifts apart. Private to policies/.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/dense_layer.hpp"

namespace ballast::policies {

// Copies for the heaviest experts, as pack() does; then those experts, each on one rank of the part that already hangs
// together and on ranks that are not in it yet; then the others, the heaviest first, to the rank that is done soonest.
// weights[expert]. Writes the slots of all ranks, -1 for empty ones. Homes and what does not fit are left to
// make_legal().
void pack_joined(const float* weights, std::uint32_t experts, std::uint32_t replicas, const rank_table& ranks,
                 std::int32_t* slots);

}  // namespace ballast::policies
