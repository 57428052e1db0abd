// Which node keeps a copy of which expert: groups of experts on nodes, so that tokens that are routed by group find
// every expert of theirs on one node. Private to policies/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policies/dense_layer.hpp"
#include "policies/planner.hpp"

namespace ballast::policies {

class home_table {
 public:
  home_table() = default;
  // Says in `notes` why there are none although they were asked for.
  home_table(const plan_shape& shape, const rank_table& ranks, bool wanted, std::vector<std::string>& notes);

  bool active() const { return groups_ > 0; }

  // Node of every expert, no_node where there are no homes; one entry more than experts. `slots`: the current ones, in
  // rank-major order, whose groups then stay where most of them is; null: groups are packed to nodes by load.
  std::vector<std::uint32_t> of_layer(const float* weights, std::uint32_t row, const std::int32_t* slots) const;

 private:
  const rank_table* ranks_ = nullptr;
  std::uint32_t experts_ = 0, groups_ = 0;
};

}  // namespace ballast::policies
