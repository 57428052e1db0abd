#include "tests/policies/planner_goals_judge.hpp"

#include <algorithm>
#include <numeric>

namespace ballast::policies::goals {

layer_judge::layer_judge(const plan_shape& shape) : shape_(shape), ranks_(shape.experts) {
  for (std::uint32_t r = 0; r < shape.ranks.size(); ++r) {
    rank_of_slot_.insert(rank_of_slot_.end(), shape.ranks[r].slots, r);
    speed_.push_back(shape.ranks[r].speed);
  }
}

void layer_judge::look_at(const std::int32_t* slots) {
  for (auto& on : ranks_) on.clear();
  fault_.clear();
  for (std::size_t k = 0; k < rank_of_slot_.size(); ++k) {
    if (slots[k] < 0) continue;
    auto& on = ranks_[static_cast<std::size_t>(slots[k])];
    if (!on.empty() && on.back() == rank_of_slot_[k])
      fault_ = "expert " + std::to_string(slots[k]) + " twice on a rank";
    on.push_back(rank_of_slot_[k]);
  }
  graph_.clear(static_cast<std::uint32_t>(speed_.size()));
  choices_.clear();
  for (std::uint32_t e = 0; e < shape_.experts; ++e) {
    if (ranks_[e].empty()) fault_ = "expert " + std::to_string(e) + " missing";
    if (ranks_[e].size() < 2) continue;
    graph_.rank.insert(graph_.rank.end(), ranks_[e].begin(), ranks_[e].end());
    graph_.close_expert();
    choices_.push_back(e);
  }
  flow_.use(graph_);
}

double layer_judge::even(const double* load) {
  carried_.assign(speed_.size(), 0.0);
  for (std::uint32_t e = 0; e < shape_.experts; ++e) {
    for (const auto r : ranks_[e]) carried_[r] += load[e] / static_cast<double>(ranks_[e].size());
  }
  return peak_over_mean(load);
}

void layer_judge::solve(const double* load) {
  base_.assign(speed_.size(), 0.0);
  choice_load_.clear();
  for (std::uint32_t e = 0; e < shape_.experts; ++e) {
    if (ranks_[e].size() == 1) base_[ranks_[e][0]] += load[e];
  }
  for (const auto e : choices_) choice_load_.push_back(load[e]);
  bound_ = flow_.solve({choice_load_.data(), base_.data(), speed_.data()}, 1e-6);
}

double layer_judge::best(const double* load) { return with_shares_for(load, load, 0); }

double layer_judge::with_shares_for(const double* known, const double* load, double even) {
  solve(known);
  carried_.assign(speed_.size(), 0.0);
  for (std::uint32_t e = 0; e < shape_.experts; ++e) {
    if (ranks_[e].size() == 1) carried_[ranks_[e][0]] += load[e];
  }
  for (std::size_t c = 0; c < choices_.size(); ++c) {
    const auto begin = graph_.first[c], end = graph_.first[c + 1];
    for (auto k = begin; k < end; ++k) {
      const double share = choice_load_[c] > 0 ? (1 - even) * flow_.flow()[k] / choice_load_[c] + even / (end - begin)
                                               : 1.0 / (end - begin);
      carried_[graph_.rank[k]] += share * load[choices_[c]];
    }
  }
  return peak_over_mean(load);
}

double layer_judge::peak_over_mean(const double* load) const {
  const double total = std::accumulate(load, load + shape_.experts, 0.0);
  if (!(total > 0)) return 1;
  double peak = 0;
  for (std::size_t r = 0; r < speed_.size(); ++r) peak = std::max(peak, carried_[r] / speed_[r]);
  return peak * std::accumulate(speed_.begin(), speed_.end(), 0.0) / total;
}

}  // namespace ballast::policies::goals
