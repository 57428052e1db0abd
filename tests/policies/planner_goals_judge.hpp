// Peak to average of a layer of a flat plan, with even shares or the best ones.
#pragma once

#include "policies/shares_flow.hpp"
#include "tests/policies/planner_goals_replay.hpp"

namespace ballast::policies::goals {

class layer_judge {
 public:
  explicit layer_judge(const plan_shape& shape);

  void look_at(const std::int32_t* slots);  // of one layer
  bool legal() const { return fault_.empty(); }
  const std::string& fault() const { return fault_; }

  double even(const double* load);
  double best(const double* load);
  // The best shares for `known`, but for a part that is split evenly.
  double with_shares_for(const double* known, const double* load, double even);

 private:
  double peak_over_mean(const double* load) const;
  void solve(const double* load);

  const plan_shape& shape_;
  std::vector<std::uint32_t> rank_of_slot_;
  std::vector<std::vector<std::uint32_t>> ranks_;  // [expert]
  share_graph graph_;
  share_flow flow_;
  std::vector<std::uint32_t> choices_;
  std::vector<double> choice_load_, base_, speed_, carried_;
  double bound_ = 0;
  std::string fault_;
};

}  // namespace ballast::policies::goals
