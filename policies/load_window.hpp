// Token counts over the last `window_size` steps, put together from what the seats report. Pure; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "messages/types.hpp"
#include "policies/placement.hpp"

namespace ballast::policies {

// Summaries of the same last step form a bucket. A bucket counts once every seat that was active when it was opened has
// reported, or a later bucket counts, or too many are open. Order does not matter; a summary that is late is added to
// its bucket while that is in the window; a repeated or older one changes nothing. Bounds: at most open_max buckets
// that do not count yet (the oldest then counts as it is); those that count cover at most window_size steps, or are a
// single one. A bucket holds layers * experts numbers.
//
// Buckets that slid out of the window are kept as history, merged into chunks of an eighth of the window: at most
// intervals_max windows of them.
class load_window {
 public:
  static constexpr std::size_t open_max = 8;
  static constexpr std::size_t parts_max = 8;
  static constexpr std::size_t intervals_max = snapshot_weights{}.changes_max;  // what plans look back at

  enum class verdict : std::uint8_t {
    taken,      // a bucket grew
    repeated,   // this seat has reported that bucket already
    outdated,   // before the window, or before the last reset
    malformed,  // another shape, no steps, or counts that are no counts
  };

  struct bucket {
    step_t first = 0, last = 0;
    std::set<seat_id> reported, awaited;
    load_matrix tokens;
    std::map<seat_id, std::vector<double>> received;  // by seat: tokens of each layer
  };

  load_window(std::uint32_t layers, std::uint32_t experts, std::uint64_t window_size);

  // Who is to report from now on. Seats that are no longer named are not waited for any more.
  void set_active(const std::vector<seat_id>& seats);
  // Steps first_step to last_step, both included; tokens[layer][logical expert].
  verdict add(seat_id seat, step_t first_step, step_t last_step, const load_matrix& tokens);
  // Forgets everything; summaries of steps before `from` are outdated.
  void reset(step_t from = 0);

  const load_matrix& totals() const noexcept { return totals_; }  // of the buckets that count
  std::uint64_t steps() const noexcept;                           // that totals() covers
  step_t last_step() const noexcept { return counted_.empty() ? 0 : counted_.back().last; }
  std::size_t buckets() const noexcept { return counted_.size() + open_.size(); }
  const std::deque<bucket>& counted() const noexcept { return counted_; }  // by last step

  // The newest buckets that count, summed: as many as cover `steps` and hold `tokens` for each expert on average, or
  // all.
  bucket recent(std::uint64_t steps, double tokens = 0) const;
  // totals() in at most parts_max consecutive parts of about equal length, oldest first.
  std::vector<load_matrix> parts() const;
  // The windows before this one, oldest first: each as long as the window and next to each other.
  std::vector<load_matrix> intervals() const;

 private:
  struct chunk {
    step_t first = 0, last = 0;
    load_matrix tokens;
  };
  void keep_as_history(bucket old);
  bool well_formed(step_t first_step, step_t last_step, const load_matrix& tokens) const;
  bucket* find(step_t last_step);
  void count_up_to(step_t last_step);
  void count_complete();
  void slide();

  std::uint32_t layers_, experts_;
  std::uint64_t window_size_;
  step_t from_ = 0;
  std::set<seat_id> active_;
  std::deque<bucket> counted_, open_;  // by last step; every open one is later than every counted one
  std::deque<chunk> past_;             // by last step; all before the counted ones
  load_matrix totals_;
};

// Imbalance (placement.hpp) of what ranks really got: received[seat][layer] tokens. A seat without an entry got none.
imbalance_report imbalance_of_ranks(const std::map<seat_id, std::vector<double>>& received,
                                    const std::vector<seat_info>& seats);

}  // namespace ballast::policies
