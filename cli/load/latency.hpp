// Figures over samples of time, as load reports print them.
#pragma once

#include <cstddef>
#include <vector>

namespace ballast {

struct latency_figures {
  std::size_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;  // in the unit of the samples; all 0 without samples
};

// Percentiles by linear interpolation between the two nearest samples.
double percentile(const std::vector<double>& sorted, double fraction);
latency_figures figures_of(std::vector<double> samples);

}  // namespace ballast
