// What no placement can fall below, even one made by somebody who knows the loads to come. Any placement, any shares:
// certified by duality, in floating point of double precision.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/planner.hpp"

namespace ballast::policies {

// Peak to average of one layer's load can never be lower: the copies split the heaviest experts as well as they can,
// each on as many ranks as there are, whatever moves.
double bound_of_copies(const plan_shape& shape, const double* load);

enum class splits_t : std::uint8_t { even, free };  // of an expert's tokens over its copies

// The same with a price on moves. Ranks get prices for load and slots, which takes the layer apart into experts; the
// best copies of each are found exactly, whatever their number. Whatever the prices, the sum is a bound; they are
// improved step by step.
class priced_bound {
 public:
  priced_bound(const plan_shape& shape, splits_t splits);

  // At most the least of (peak to average) + price * (copies written) over all legal placements of one layer, where
  // held[slots] is the one in use. price > 0.
  double of(const std::int32_t* held, const double* load, double price);

 private:
  double value();  // at the prices as they are; notes what the best copies would make of the ranks
  double best_copies(std::uint32_t expert);
  double best_set(std::uint32_t expert);
  void climb(double step);

  const plan_shape& shape_;
  splits_t splits_;
  double write_price_ = 0;
  std::vector<double> weight_;                   // [expert] load, relative to what the mean rank carries
  std::vector<std::uint8_t> held_;               // [expert * ranks + rank]
  std::vector<std::uint32_t> copies_held_;       // [expert]
  std::vector<double> load_price_, slot_price_;  // [rank]
  std::vector<double> load_, count_;             // [rank] of the best copies
  std::vector<double> fixed_, cost_;             // [rank] scratch: of one expert's copy there
  std::vector<std::uint32_t> order_, chosen_;
};

}  // namespace ballast::policies
