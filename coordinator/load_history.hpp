// Tokens per layer and expert over the newest steps, as the ranks' summaries bring them. Pure.
#pragma once

#include <cstdint>
#include <deque>

#include "messages/types.hpp"

namespace ballast::cluster {

// Summaries of one range of steps, one from each rank, add up. A range leaves once it lies wholly before the window, so
// that the window covers at least `window_steps` as soon as so many were made; at most max_ranges are kept.
class load_history {
 public:
  load_history() = default;
  load_history(std::uint32_t layers, std::uint32_t experts, std::uint32_t window_steps);

  void add(step_t first, step_t last, const load_matrix& tokens);  // tokens: [layers][experts]
  const load_matrix& total() const noexcept { return total_; }
  std::uint64_t steps() const noexcept;  // from the first to the last one covered
  void clear();

  static constexpr std::size_t max_ranges = 1024;

 private:
  struct range {
    step_t first = 0, last = 0;
    load_matrix tokens;
  };
  void forget_oldest();

  std::uint32_t window_steps_ = 0;
  load_matrix total_;
  std::deque<range> ranges_;  // by last step
};

}  // namespace ballast::cluster
