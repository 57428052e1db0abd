// How the replicas of an expert share its tokens in a simulation.
#pragma once

#include <cstdint>
#include <string>

#include "messages/result.hpp"
#include "policies/placement.hpp"

namespace ballast::offline {

enum class share_mode : std::uint8_t {
  even,
  interval,  // solved with each plan, for the loads planned from
  record,    // solved for every record, for the one before it
};

result<share_mode> share_mode_of(const std::string& name);
const char* to_string(share_mode mode) noexcept;

// The placement with shares solved for these loads.
result<placement> with_solved_shares(placement p, const load_matrix& loads,
                                     const std::vector<policies::seat_info>& seats);

}  // namespace ballast::offline
