// Directions in the space of hidden states.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "agent/model/random_weights.hpp"

namespace ballast {

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// A vector of length 1 from values [first, first + size), at right angles to all of `others` (orthonormal, fewer than
// size).
inline std::vector<double> random_direction(const random_values& values, std::uint64_t first, std::uint32_t size,
                                            const std::vector<std::vector<double>>& others) {
  std::vector<double> made(size);
  for (std::uint32_t i = 0; i < size; ++i) made[i] = static_cast<double>(values.normal(first + i));
  for (const auto& other : others) {
    const double along = dot(made, other);
    for (std::uint32_t i = 0; i < size; ++i) made[i] -= along * other[i];
  }
  const double length = std::sqrt(dot(made, made));
  for (double& value : made) value /= length;
  return made;
}

}  // namespace ballast
