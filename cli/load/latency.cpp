#include "cli/load/latency.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ballast {

double percentile(const std::vector<double>& sorted, double fraction) {
  if (sorted.empty()) return 0;
  const double at = std::clamp(fraction, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const auto high = std::min(low + 1, sorted.size() - 1);
  return std::lerp(sorted[low], sorted[high], at - std::floor(at));
}

latency_figures figures_of(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const double sum = std::accumulate(samples.begin(), samples.end(), 0.0);
  return {samples.size(),
          sum / static_cast<double>(samples.size()),
          percentile(samples, 0.5),
          percentile(samples, 0.9),
          percentile(samples, 0.99),
          samples.back()};
}

}  // namespace ballast
