// Token counts over the last `window_size` steps, put together from what the seats report. Pure; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <vector>

#include "messages/types.hpp"

namespace ballast::policies {

// Summaries of the same last step form a bucket. A bucket counts once every seat that was active when it was opened has
// reported, or a later bucket counts, or too many are open. Order does not matter; a summary that is late is added to
// its bucket while that is in the window; a repeated or older one changes nothing. Bounds: at most open_max buckets
// that do not count yet (the oldest then counts as it is); those that count cover at most window_size steps, or are a
// single one. A bucket holds layers * experts numbers.
class load_window {
 public:
  static constexpr std::size_t open_max = 8;

  enum class verdict : std::uint8_t {
    taken,      // a bucket grew
    repeated,   // this seat has reported that bucket already
    outdated,   // before the window, or before the last reset
    malformed,  // another shape, no steps, or counts that are no counts
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

 private:
  struct bucket {
    step_t first = 0, last = 0;
    std::set<seat_id> reported, awaited;
    load_matrix tokens;
  };
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
  load_matrix totals_;
};

}  // namespace ballast::policies
