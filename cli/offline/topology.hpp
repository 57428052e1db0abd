// Ranks, nodes and slots as the flags of the offline verbs give them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "policies/placement.hpp"

namespace ballast::offline {

struct topology_options {
  std::uint32_t ranks = 0;
  std::uint32_t nodes = 1;
  std::optional<std::uint32_t> redundant;       // experts beyond one of each, a layer
  std::optional<std::uint32_t> slots_per_rank;  // in place of it
};

// Rank i is seat i; nodes hold consecutive ranks, as evenly as they go.
struct topology {
  std::vector<policies::seat_info> seats;
  std::uint32_t nodes = 1;
  std::uint32_t slots_per_rank = 0;
  std::uint32_t redundant = 0;  // fills every slot
  std::string note;             // what was rounded; empty: nothing
};

// `experts` a layer. Redundant experts are rounded up to what fills all ranks alike. Errors: does_not_fit,
// invalid_argument, with the numbers.
result<topology> topology_of(const topology_options& options, std::uint32_t experts);

// What a placement problem has of both; loads and the current placement are left empty.
policies::placement_problem problem_for(const topology& on, std::uint32_t layers, std::uint32_t experts,
                                        std::uint32_t groups);

}  // namespace ballast::offline
