#include "coordinator/load_history.hpp"

#include <algorithm>

namespace ballast::cluster {
namespace {

void accumulate(load_matrix& into, const load_matrix& from, double sign) {
  for (std::size_t l = 0; l < into.size(); ++l)
    for (std::size_t e = 0; e < into[l].size(); ++e) into[l][e] = std::max(0.0, into[l][e] + sign * from[l][e]);
}

}  // namespace

load_history::load_history(std::uint32_t layers, std::uint32_t experts, std::uint32_t window_steps)
    : window_steps_(window_steps), total_(layers, std::vector<double>(experts, 0.0)) {}

void load_history::add(step_t first, step_t last, const load_matrix& tokens) {
  if (!ranges_.empty() && last + window_steps_ <= ranges_.back().last) return;  // older than the window
  auto at = std::ranges::lower_bound(ranges_, last, {}, &range::last);
  if (at != ranges_.end() && at->last == last && at->first == first)
    accumulate(at->tokens, tokens, 1);
  else
    ranges_.insert(at, {first, last, tokens});
  accumulate(total_, tokens, 1);
  while (ranges_.size() > max_ranges || ranges_.front().last + window_steps_ <= ranges_.back().last) forget_oldest();
}

void load_history::forget_oldest() {
  accumulate(total_, ranges_.front().tokens, -1);
  ranges_.pop_front();
}

std::uint64_t load_history::steps() const noexcept {
  return ranges_.empty() ? 0 : ranges_.back().last - ranges_.front().first + 1;
}

void load_history::clear() {
  ranges_.clear();
  for (auto& layer : total_) std::ranges::fill(layer, 0.0);
}

}  // namespace ballast::cluster
