// What imbalance and copies cost, for a shape and links that the user describes.
#pragma once

#include <cstdint>
#include <string>

#include "messages/result.hpp"

namespace ballast::offline {

struct bundle_options {
  std::uint64_t bytes = 0;  // of one expert in one layer; 0: from the shape
  std::uint32_t hidden = 0, intermediate = 0;
  std::string dtype = "bf16";
};

// Bytes of one expert's weights: three matrices hidden x intermediate; fp8 with a 4-byte scale for every 128 x 128
// block. 0 where nothing was said. Error: invalid_argument, with the names of dtypes.
result<std::uint64_t> bundle_bytes(const bundle_options& options);

struct cost_model {
  std::uint64_t bundle_bytes = 0;  // 0: not known, copies are free
  double link_gbps = 50;           // GB/s into one rank
  double step_ms = 30;             // a step of a balanced deployment
  double steps_per_record = 0;     // 0: not known; then 100
  double imbalance_share = 0.5;    // part of a step that grows with the imbalance
  double slowdown = 0.05;          // by how much a step is longer while copies are under way

  double step_ms_at(double par) const { return step_ms * (1 - imbalance_share + imbalance_share * par); }
  double copy_seconds(std::uint64_t slots_of_busiest_rank) const {
    return static_cast<double>(slots_of_busiest_rank) * static_cast<double>(bundle_bytes) / (link_gbps * 1e9);
  }
};

struct interval_cost {
  double step_ms = 0;  // mean over the interval, copies included
  double copying = 0;  // part of the interval's time
};

// An interval of so many steps: while copies are under way steps run on the old placement, slowed down; then on the new
// one.
interval_cost cost_of_interval(const cost_model& model, double steps, double par_old, double par_new,
                               double copy_seconds);

}  // namespace ballast::offline
