#include "cli/offline/rank_loads.hpp"

#include <algorithm>
#include <numeric>

namespace ballast::offline {

rank_loads::rank_loads(const placement& p, std::uint32_t ranks) : layers_(p.layers.size()), ranks_(ranks) {
  for (const auto& layer : p.layers) {
    for (std::uint32_t e = 0; e < layer.size(); ++e)
      for (const auto& r : layer[e]) parts_.push_back({e, index_of(r.seat), r.share});
    ends_.push_back(parts_.size());
  }
}

void rank_loads::add(const load_matrix& tokens, std::vector<double>& out) const {
  out.resize(size());
  std::size_t at = 0;
  for (std::size_t l = 0; l < layers_; ++l) {
    const double* row = tokens[l].data();
    double* to = out.data() + l * ranks_;
    for (; at < ends_[l]; ++at) to[parts_[at].rank] += row[parts_[at].expert] * parts_[at].share;
  }
}

std::vector<double> layer_imbalance(const std::vector<double>& loads, std::uint32_t ranks) {
  std::vector<double> out;
  for (auto row = loads.begin(); row != loads.end(); row += ranks) {
    const double sum = std::accumulate(row, row + ranks, 0.0);
    out.push_back(sum > 0 ? *std::max_element(row, row + ranks) * ranks / sum : 1.0);
  }
  return out;
}

}  // namespace ballast::offline
