// Small layers planned from nothing against the exact optimum of an integer program: where every copy goes, how many
// there are of each expert, tokens split evenly over them.
#include <glpk.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tests/policies/shapes.hpp"

namespace ballast::policies {
namespace {

struct small_layer {
  std::vector<double> weights;
  std::uint32_t ranks = 0, slots = 0, spares = 0;  // slots of a rank
};

// Variables: at(e, r, c), expert e has c copies, one of them on rank r; has(e, c); the peak. Minimises the peak.
class exact_program {
 public:
  explicit exact_program(const small_layer& layer)
      : layer_(layer), experts_(static_cast<int>(layer.weights.size())), ranks_(static_cast<int>(layer.ranks)) {
    copies_ = std::min(ranks_, static_cast<int>(layer.spares) + 1);
    problem_ = glp_create_prob();
    glp_set_obj_dir(problem_, GLP_MIN);
    peak_ = glp_add_cols(problem_, 1);
    glp_set_col_bnds(problem_, peak_, GLP_LO, 0, 0);
    glp_set_obj_coef(problem_, peak_, 1);
    first_ = glp_add_cols(problem_, experts_ * copies_ * (ranks_ + 1));
    for (int k = 0; k < experts_ * copies_ * (ranks_ + 1); ++k) glp_set_col_kind(problem_, first_ + k, GLP_BV);
    constrain_experts();
    constrain_ranks();
  }
  exact_program(const exact_program&) = delete;
  exact_program& operator=(const exact_program&) = delete;
  ~exact_program() { glp_delete_prob(problem_); }

  double solve() {
    glp_iocp how;
    glp_init_iocp(&how);
    how.presolve = GLP_ON;
    how.msg_lev = GLP_MSG_OFF;
    how.mip_gap = 5e-4;
    how.fp_heur = GLP_ON;
    const int ended = glp_intopt(problem_, &how);
    EXPECT_TRUE(ended == 0 || ended == GLP_EMIPGAP) << ended;
    return glp_mip_obj_val(problem_);
  }

 private:
  int at(int e, int r, int c) const { return first_ + (e * copies_ + c - 1) * (ranks_ + 1) + r; }
  int has(int e, int c) const { return at(e, ranks_, c); }

  void row(int kind, double bound, const std::vector<std::pair<int, double>>& terms) {
    const int number = glp_add_rows(problem_, 1);
    glp_set_row_bnds(problem_, number, kind, bound, bound);
    std::vector<int> columns{0};
    std::vector<double> factors{0};
    for (const auto& [column, factor] : terms) columns.push_back(column), factors.push_back(factor);
    glp_set_mat_row(problem_, number, static_cast<int>(terms.size()), columns.data(), factors.data());
  }

  void constrain_experts() {
    std::vector<std::pair<int, double>> all;
    for (int e = 0; e < experts_; ++e) {
      std::vector<std::pair<int, double>> one;
      for (int c = 1; c <= copies_; ++c) {
        one.emplace_back(has(e, c), 1);
        all.emplace_back(has(e, c), c);
        std::vector<std::pair<int, double>> places{{has(e, c), -c}};
        for (int r = 0; r < ranks_; ++r) {
          places.emplace_back(at(e, r, c), 1);
          row(GLP_UP, 0, {{at(e, r, c), 1}, {has(e, c), -1}});
        }
        row(GLP_FX, 0, places);
      }
      row(GLP_FX, 1, one);
    }
    row(GLP_UP, experts_ + static_cast<int>(layer_.spares), all);
  }
  void constrain_ranks() {
    for (int r = 0; r < ranks_; ++r) {
      std::vector<std::pair<int, double>> count, load{{peak_, -1}}, order;
      for (int e = 0; e < experts_; ++e) {
        for (int c = 1; c <= copies_; ++c) {
          const double part = layer_.weights[static_cast<std::size_t>(e)] / c;
          count.emplace_back(at(e, r, c), 1);
          load.emplace_back(at(e, r, c), part);
          if (r == 0) continue;
          order.emplace_back(at(e, r, c), part);
          order.emplace_back(at(e, r - 1, c), -part);
        }
      }
      row(GLP_UP, layer_.slots, count);
      row(GLP_UP, 0, load);
      if (r > 0) row(GLP_UP, 0, order);  // ranks are alike: the heavier first
    }
  }

  const small_layer& layer_;
  glp_prob* problem_ = nullptr;
  int experts_, ranks_, copies_ = 1, peak_ = 0, first_ = 0;
};

small_layer random_layer(std::mt19937_64& random) {
  small_layer layer;
  const auto experts = static_cast<std::uint32_t>(6 + random() % 4);
  layer.ranks = static_cast<std::uint32_t>(2 + random() % (experts < 8 ? 3 : 2));
  layer.slots = (experts + layer.ranks - 1) / layer.ranks + static_cast<std::uint32_t>(random() % 2);
  layer.spares = std::min<std::uint32_t>(layer.ranks * layer.slots - experts, 3);
  std::lognormal_distribution<double> draw(6.0, 0.8);
  for (std::uint32_t e = 0; e < experts; ++e) layer.weights.push_back(std::floor(draw(random)));
  return layer;
}

double planned_peak(const small_layer& layer) {
  placement_problem problem;
  problem.layers = 1;
  problem.experts = static_cast<std::uint32_t>(layer.weights.size());
  problem.redundant = layer.spares;
  problem.seats = testing::equal_seats(layer.ranks, layer.slots);
  problem.loads = {layer.weights};
  const auto plan = place("fresh", problem);
  EXPECT_TRUE(plan);
  double sum = 0;
  for (const auto w : layer.weights) sum += w;
  return imbalance(*plan, problem.loads, problem.seats).max * sum / layer.ranks;
}

TEST(place_fresh, is_close_to_the_exact_optimum_of_small_layers) {
  std::mt19937_64 random(3);
  constexpr int count = 40;
  double excess = 0, worst = 0;
  for (int k = 0; k < count; ++k) {
    const auto layer = random_layer(random);
    const double best = exact_program(layer).solve(), ours = planned_peak(layer);
    EXPECT_GE(ours, best * (1 - 1e-3)) << "the program is not exact";
    excess += (ours / best - 1) / count;
    worst = std::max(worst, ours / best - 1);
  }
  RecordProperty("mean_excess", std::to_string(excess));
  RecordProperty("worst_excess", std::to_string(worst));
  EXPECT_LE(excess, 0.005);
  EXPECT_LE(worst, 0.02);
}

}  // namespace
}  // namespace ballast::policies
