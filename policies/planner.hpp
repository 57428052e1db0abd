// The placement search over all layers, on flat arrays: what place() runs, and what a program with arrays of its own
// may call without the detour over `placement`. Pure, deterministic: equal inputs give equal outputs on every host and
// for any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast::policies {

struct rank_shape {
  std::uint32_t slots = 0;  // a layer
  std::uint32_t node = 0;
  double speed = 1;  // relative; load is divided by it
};

struct plan_shape {
  std::uint32_t layers = 0, experts = 0;
  std::uint32_t groups = 1;  // consecutive, equal runs of experts; of interest for home copies only
  std::vector<rank_shape> ranks;
  std::uint32_t redundant = ~0U;  // replicas beyond one per expert, a layer; bounded by what the ranks hold
  std::uint32_t slots() const;    // of all ranks, a layer
};

// Loads of every expert, layer by layer: rows[layer] points to `experts` numbers >= 0. None: even. A layer without load
// is even, too.
struct load_rows {
  std::vector<const double*> rows;
  static load_rows flat(const double* loads, std::uint32_t layers, std::uint32_t experts);
};

// What was seen, oldest first. The parts sum to the last interval; parts and earlier intervals may be absent.
struct recent_loads {
  load_rows last;
  std::vector<load_rows> parts, intervals;
};

// How much each snapshot counts. A plan is made for all of them at once, so that experts that heat up together are kept
// apart. `now` is a mean of the parts, each weighing `fading` times as much as the one after it. What came before tells
// how loads move: for each earlier interval there are two snapshots, of `now` gone on in a direction and of `now` gone
// back. The direction is `reach` times the change from that interval to the next, and `since` times that from it to
// now.
struct snapshot_weights {
  double last = 0.1, now = 10, fading = 0.3, part = 2, change = 0.4, reach = 2, since = 0.5;
  std::uint32_t parts_max = 4;    // more are added up in neighbouring groups
  std::uint32_t changes_max = 5;  // the latest ones; so many earlier intervals are of use
};

struct plan_options {
  enum class start_t : std::uint8_t {
    current,  // from the current placement, where there is one
    nothing,  // packed anew, whatever moves
    keep,     // the current placement; only what coverage needs is changed. From nothing: in order, evenly
  } start = start_t::current;
  // Peak-to-average that writing all slots of a layer anew must save; a write must save its share of that. What a write
  // may cost is bounded by `price_per_drift` times the observed drift, so that calm traffic is balanced further: the
  // change of a rank's load from one interval to the next (root mean square, relative to its mean).
  double write_price = 0.185, price_per_drift = 1.95;
  snapshot_weights snapshots;
  // Peak to average on the last interval at which a layer is left alone; without history also where the search ends.
  double target_imbalance = 1;
  double gain_min = 1e-6;  // load of a rank, relative to the mean, that a change must save at least, with history
  std::uint32_t changes_max = ~0U;   // a layer
  std::uint32_t idle_ranks_max = 6;  // hot ranks looked at in vain, one after the other, before a layer is done
  std::uint32_t power = 16;          // of the norm over ranks and snapshots: 8 or 16
  bool home_copies = false;          // one copy of every expert stays on its group's node
  bool solved_shares = false;        // shares are solved for the load served (shares.hpp); see for_solved_shares()
  std::uint32_t threads = 1;
};

// The same options for a layout whose shares are solved anew all the time: redundant copies go where they join ranks,
// and what counts is what the best shares make of each snapshot.
plan_options for_solved_shares(plan_options options);

struct plan_summary {
  std::uint64_t writes = 0;          // slots whose expert was not on that rank before
  std::uint64_t changes = 0;         // steps of the search
  std::vector<std::uint8_t> mended;  // [layer] 1 where `current` was not legal or without home copies
  double drift = 0;                  // observed; 0 without earlier loads
  std::vector<std::string> notes;    // what was asked for and could not be, a line each
};

// Physical-to-logical maps: [layers][slots] experts, the slots of rank 0 first; -1 is an empty slot. Errors:
// invalid_argument, does_not_fit (with the numbers).
class planner {
 public:
  static result<planner> make(const plan_shape& shape, const plan_options& options);
  planner(planner&&) noexcept;
  planner& operator=(planner&&) noexcept;
  ~planner();

  // `current` may be null, name experts that are missing and copies that are too many; a second copy on one rank counts
  // as an empty slot. Slots within a rank are in no particular order. Where `current` is legal, the peak of no layer is
  // higher afterwards on `loads.last` (with the best shares, if they are solved), except with start_t::nothing. One
  // thread at a time.
  plan_summary plan(const recent_loads& loads, const std::int32_t* current, std::int32_t* out);

 private:
  struct impl;
  explicit planner(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast::policies
