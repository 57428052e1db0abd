#include "tests/policies/placement_bound.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace ballast::policies {
namespace {

// Every legal placement of a small layer: each rank holds any set of experts that fits.
class all_placements {
 public:
  explicit all_placements(const plan_shape& shape) : shape_(shape), sets_(shape.ranks.size()) {}

  // The least of (peak to average) + price * writes; tokens split evenly.
  double least(const std::vector<std::uint32_t>& held, const std::vector<double>& load, double price) {
    least_ = 1e9;
    visit(0, held, load, price);
    return least_;
  }

 private:
  void visit(std::size_t rank, const std::vector<std::uint32_t>& held, const std::vector<double>& load, double price) {
    if (rank == sets_.size()) {
      least_ = std::min(least_, cost(held, load, price));
      return;
    }
    for (std::uint32_t set = 0; set < 1U << shape_.experts; ++set) {
      if (static_cast<std::uint32_t>(__builtin_popcount(set)) > shape_.ranks[rank].slots) continue;
      sets_[rank] = set;
      visit(rank + 1, held, load, price);
    }
  }
  double cost(const std::vector<std::uint32_t>& held, const std::vector<double>& load, double price) const {
    std::vector<int> copies(shape_.experts);
    int writes = 0;
    for (std::size_t r = 0; r < sets_.size(); ++r) {
      for (std::uint32_t e = 0; e < shape_.experts; ++e) copies[e] += sets_[r] >> e & 1;
      writes += __builtin_popcount(sets_[r] & ~held[r]);
    }
    if (std::count(copies.begin(), copies.end(), 0) > 0) return 1e9;
    double total = 0, speeds = 0, peak = 0;
    for (const auto w : load) total += w;
    for (const auto& r : shape_.ranks) speeds += r.speed;
    for (std::size_t r = 0; r < sets_.size(); ++r) {
      double sum = 0;
      for (std::uint32_t e = 0; e < shape_.experts; ++e) sum += (sets_[r] >> e & 1) != 0 ? load[e] / copies[e] : 0;
      peak = std::max(peak, sum / shape_.ranks[r].speed);
    }
    return peak * speeds / total + price * writes;
  }

  const plan_shape& shape_;
  std::vector<std::uint32_t> sets_;
  double least_ = 0;
};

struct small_layer {
  plan_shape shape{1, 5, 1, {{3, 0, 1}, {3, 0, 1}, {2, 0, 1.5}}, 3};
  std::vector<std::uint32_t> held{0b00111, 0b11001, 0b00011};
  std::vector<std::int32_t> slots{0, 1, 2, 0, 3, 4, 0, 1};
  std::vector<double> load;

  explicit small_layer(std::uint32_t seed) {
    std::mt19937 random(seed);
    std::lognormal_distribution<double> draw(3, 1);
    for (std::uint32_t e = 0; e < shape.experts; ++e) load.push_back(draw(random));
  }
};

TEST(placement_bound, is_never_above_the_best_of_all_placements_and_close_to_it) {
  double gap = 0;
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    const small_layer layer(seed);
    for (const double price : {0.01, 0.05, 0.2, 1.0}) {
      const double exact = all_placements(layer.shape).least(layer.held, layer.load, price);
      const double even = priced_bound(layer.shape, splits_t::even).of(layer.slots.data(), layer.load.data(), price);
      const double free = priced_bound(layer.shape, splits_t::free).of(layer.slots.data(), layer.load.data(), price);
      EXPECT_LE(even, exact + 1e-9) << seed << " " << price;
      EXPECT_LE(free, even + 0.02) << seed << " " << price;  // both are as good as they were climbed
      EXPECT_LE(free, exact + 1e-9) << seed << " " << price;
      EXPECT_GE(even, 0.6 * exact) << seed << " " << price;
      gap += 1 - even / exact;
    }
    EXPECT_LE(bound_of_copies(layer.shape, layer.load.data()),
              all_placements(layer.shape).least(layer.held, layer.load, 0) + 1e-9);
  }
  EXPECT_LE(gap / 80, 0.2);
}

TEST(placement_bound, of_one_heavy_expert_is_what_its_copies_carry) {
  const plan_shape shape{1, 4, 1, {{2, 0, 1}, {2, 0, 1}, {2, 0, 1}}, 1};
  const double load[] = {90, 1, 1, 1};
  EXPECT_NEAR(bound_of_copies(shape, load), 45.0 * 3 / 93, 1e-12);
  const double calm[] = {1, 1, 1, 1};
  EXPECT_EQ(bound_of_copies(shape, calm), 1);
  const double nothing[] = {0, 0, 0, 0};
  EXPECT_EQ(bound_of_copies(shape, nothing), 1);
}

}  // namespace
}  // namespace ballast::policies
