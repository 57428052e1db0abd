#include "policies/start_plan.hpp"

#include <algorithm>
#include <utility>

namespace ballast::policies {

namespace {

std::string shape(std::size_t layers, std::size_t experts) {
  return std::to_string(layers) + " layers x " + std::to_string(experts) + " experts";
}

}  // namespace

void add_loads(load_matrix& sum, const load_matrix& tokens) {
  if (sum.empty()) {
    sum = tokens;
    return;
  }
  for (std::size_t l = 0; l < sum.size(); ++l)
    for (std::size_t e = 0; e < sum[l].size(); ++e) sum[l][e] += tokens[l][e];
}

load_folder::load_folder(std::uint64_t interval)
    : interval_(interval), grain_(std::max<std::uint64_t>(1, interval / parts_max)) {}

void load_folder::halve() {
  std::deque<chunk> halved;
  for (std::size_t i = 0; i < chunks_.size(); i += 2) {
    halved.push_back(std::move(chunks_[i]));
    if (i + 1 == chunks_.size()) break;
    add_loads(halved.back().tokens, chunks_[i + 1].tokens);
    halved.back().records += chunks_[i + 1].records;
  }
  chunks_ = std::move(halved);
  grain_ *= 2;
}

void load_folder::add(const load_matrix& tokens) {
  ++records_;
  if (chunks_.empty() || chunks_.back().records >= grain_) {
    if (interval_ == 0 && chunks_.size() == parts_max) halve();
    chunks_.emplace_back();
  }
  add_loads(chunks_.back().tokens, tokens);
  ++chunks_.back().records;
  // An interval takes at most 2 * parts_max chunks: a grain is at least half of interval / parts_max.
  if (interval_ != 0 && chunks_.size() > (intervals_max + 1) * (2 * parts_max) + 1) chunks_.pop_front();
}

recorded_loads load_folder::take() && {
  recorded_loads out;
  out.records = records_;
  // Backwards: chunks up to a whole interval, and so on.
  const auto fill = [&](std::vector<load_matrix>& parts) {
    std::uint64_t got = 0;
    while (!chunks_.empty() && (interval_ == 0 || got < interval_)) {
      got += chunks_.back().records;
      parts.push_back(std::move(chunks_.back().tokens));
      chunks_.pop_back();
    }
    std::reverse(parts.begin(), parts.end());
    return got;
  };
  fill(out.history.parts);
  for (const auto& part : out.history.parts) add_loads(out.loads, part);
  while (interval_ != 0 && out.history.intervals.size() < intervals_max) {
    std::vector<load_matrix> parts;
    if (fill(parts) < interval_) break;
    out.history.intervals.emplace_back();
    for (const auto& part : parts) add_loads(out.history.intervals.back(), part);
  }
  std::reverse(out.history.intervals.begin(), out.history.intervals.end());
  return out;
}

result<placement> plan_start(const recorded_loads& recorded, placement_problem problem, const std::string& policy) {
  const auto experts = recorded.loads.empty() ? 0 : recorded.loads.front().size();
  if (recorded.loads.size() != problem.layers || experts != problem.experts) {
    return fail(errc::invalid_argument, "recorded loads are of " + shape(recorded.loads.size(), experts) +
                                            ", the model has " + shape(problem.layers, problem.experts) +
                                            "; name a recording of this model");
  }
  problem.loads = recorded.loads;
  problem.history = recorded.history;
  return place(policy, problem);
}

}  // namespace ballast::policies
