// Rank loads of a placement, many times over: flat, for replays.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/placement.hpp"

namespace ballast::offline {

// Seats 0..ranks-1.
class rank_loads {
 public:
  rank_loads(const placement& p, std::uint32_t ranks);
  // Adds what every rank gets of these tokens, [layer * ranks + rank].
  void add(const load_matrix& tokens, std::vector<double>& out) const;
  std::size_t size() const noexcept { return layers_ * ranks_; }

 private:
  struct part {
    std::uint32_t expert, rank;
    double share;
  };
  std::size_t layers_, ranks_;
  std::vector<part> parts_;
  std::vector<std::size_t> ends_;  // of each layer's parts
};

// Max / mean of every layer; 1 without load.
std::vector<double> layer_imbalance(const std::vector<double>& loads, std::uint32_t ranks);

}  // namespace ballast::offline
