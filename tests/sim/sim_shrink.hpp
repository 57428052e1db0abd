// Makes a failing schedule small: fewer incidents, fewer agents, the same kind of trouble.
#pragma once

#include <chrono>
#include <string>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {

struct shrunk {
  part left;
  outcome result;  // of the small schedule, traced
  std::uint32_t tried = 0;
};

// Bounds: `runs_most` schedules, `patience` in all; what is smallest by then is returned. The schedule of `seed` fails.
shrunk shrink(std::uint64_t seed, bug planted, std::uint32_t runs_most, std::chrono::seconds patience);

// "--seed N --agents 3 --keep 3,17,20", what sim_run replays it with.
std::string arguments_of(std::uint64_t seed, const part& left, bug planted);

}  // namespace ballast::sim
