// Problems and placements for the tests of policies/, all from seeds.
#pragma once

#include <cmath>
#include <random>

#include "policies/placement.hpp"

namespace ballast::policies::testing {

inline std::vector<seat_info> equal_seats(std::uint32_t count, std::uint32_t slots, std::uint32_t spare = 1,
                                          std::uint32_t seats_per_node = 8) {
  std::vector<seat_info> seats;
  for (std::uint32_t s = 0; s < count; ++s) seats.push_back({seat_id{s}, s / seats_per_node, 1.0, {slots, spare}});
  return seats;
}

// Log-normal loads: a few hot experts, many cold ones.
inline load_matrix skewed_loads(std::uint32_t layers, std::uint32_t experts, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> draw(6.0, 0.8);
  load_matrix loads(layers, std::vector<double>(experts));
  for (auto& row : loads) {
    for (auto& cell : row) cell = std::floor(draw(random));
  }
  return loads;
}

inline std::size_t replica_count(const layer_placement& layer) {
  std::size_t count = 0;
  for (const auto& replicas : layer) count += replicas.size();
  return count;
}

// Replicas of `after` on a seat where `before` had none of that expert: what must be copied.
inline std::size_t copies_between(const placement& before, const placement& after) {
  std::size_t copies = 0;
  for (std::size_t layer = 0; layer < after.layers.size(); ++layer) {
    for (std::size_t e = 0; e < after.layers[layer].size(); ++e) {
      for (const auto& r : after.layers[layer][e]) {
        bool there = false;
        for (const auto& old : before.layers[layer][e]) there = there || old.seat == r.seat;
        copies += !there;
      }
    }
  }
  return copies;
}

}  // namespace ballast::policies::testing
