// Local search on one layer: exchanges of two replicas and copies in place of redundant ones, each the best that can be
// found at a hot rank, as long as one saves more than its writes cost. Private to policies/.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "policies/dense_layer.hpp"

namespace ballast::policies {

// Hot is measured by the sum of a power of a rank's loads over the snapshots; what a change gains is the fall of the
// power mean of all ranks, in units of one rank's mean load, to first order.
struct search_limits {
  std::vector<float> write_price;  // [rank] gain that a write to it must bring
  float peak_enough = 0;           // on snapshot 0: nothing is sought below it
  float gain_min = 1e-6F;          // of any change
  std::uint32_t changes_max = 0;
  std::uint32_t idle_scans_max = ~0U;  // ranks looked at in vain before giving up
  std::uint32_t replicas_max = 0;      // copies may fill empty slots up to this many in all
  std::uint32_t power = 8;             // 8 or 16
};

struct found_change {
  enum kind_t : std::uint8_t { none, exchange, copy } kind = none;
  float score = 0;            // gain less the price of the writes
  std::uint32_t subject = 0;  // lane (exchange) or expert (copy)
  std::uint32_t lane = 0;     // the other one, or where the copy goes
};

// Memory for the search; once a thread.
struct search_space {
  std::vector<float> curve, slope, rise, twice;  // of an exchange's gain
  std::vector<float> bound;                      // [rank] of what an exchange with it can gain
  std::vector<std::uint32_t> movers, touched;
  std::vector<std::uint32_t> redundant;                          // lanes that may take a copy
  std::vector<std::pair<std::uint32_t, float>> here, elsewhere;  // of these, on the rank looked at or not; net_loss
  std::vector<std::pair<std::uint32_t, bool>> offers;            // experts to copy; whether to the rank looked at
  std::vector<float> net_loss, pressure_left;                    // [lane] without its copy: of all ranks; of its own
  std::vector<float> gain;                                       // [expert] of one more copy, its own load left out
  std::vector<std::uint8_t> loss_known, gain_known;              // [expert]
  std::vector<std::uint8_t> quiet;
  std::vector<std::uint32_t> best_experts;  // [lane] the last state no worse than the start on snapshot 0
};

// Loads from the layer's weights and slots, after start(). Deterministic on every host.
void refresh_loads(dense_layer& layer, std::uint32_t power);

float peak_of_first(const dense_layer& layer);  // highest load of a rank on snapshot 0

// Returns the number of changes. The layer is left where its peak on snapshot 0 is not above the start's.
std::uint32_t improve(dense_layer& layer, const search_limits& limits, search_space& space);

}  // namespace ballast::policies
