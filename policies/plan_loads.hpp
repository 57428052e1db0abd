// From what was seen to the rows of a dense_layer. Private to policies/.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/dense_layer.hpp"
#include "policies/planner.hpp"

namespace ballast::policies {

// Which snapshots a plan is made for, and their weights; one for all layers.
class snapshot_recipe {
 public:
  snapshot_recipe(const recent_loads& loads, const snapshot_weights& weights, std::uint32_t experts);

  std::uint32_t count() const { return static_cast<std::uint32_t>(sums_.size() + 2 * changes_.size()); }

  // What the loads of snapshot 0 are multiplied by beyond being relative.
  double first_root(std::uint32_t power) const;

  // Fills weight[expert][row] so that every snapshot sums to the number of ranks, times the root of its weight.
  void fill(std::uint32_t layer, std::uint32_t power, dense_layer& into) const;

 private:
  struct term {
    const load_rows* rows;
    float factor;
  };
  struct snapshot {
    std::vector<term> terms;
    double weight = 1;
  };
  struct change {
    const load_rows *from, *to;
  };
  void add(std::vector<term> terms, double weight);
  double root_of(double weight, std::uint32_t power) const;
  double largest(const snapshot& of, std::uint32_t layer) const;
  void fill_sums(std::uint32_t layer, std::uint32_t power, dense_layer& into) const;
  void fill_changes(std::uint32_t layer, std::uint32_t power, dense_layer& into) const;

  std::vector<snapshot> sums_;  // the snapshots that are sums of what was seen; then two for each change
  std::vector<change> changes_;
  std::size_t now_ = 0;  // the one that changes start from
  double change_weight_ = 0, reach_ = 0, since_ = 0;
  std::uint32_t experts_;
  double weight_sum_ = 0;
};

// Root mean square change of a rank's load between intervals (between halves of the last one, if there is no other),
// relative to its mean, if experts were spread at random; 0 if nothing is known.
double observed_drift(const recent_loads& loads, std::uint32_t layers, std::uint32_t experts, std::uint32_t ranks);

}  // namespace ballast::policies
