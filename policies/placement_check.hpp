// validate() with a choice more. Private to policies/.
#pragma once

#include "policies/placement.hpp"

namespace ballast::policies {

// `all_covered` false lets experts have no replica at all, as after a loss.
status check_placement(const placement& p, std::uint32_t layers, std::uint32_t experts,
                       const std::vector<seat_info>& seats, bool at_rest, bool all_covered);

}  // namespace ballast::policies
