// From one placement to another in waves that fit into the spare pages, so that every expert keeps a replica in every
// table that is ever published (I1) and no page is written while a table names it (I3).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"
#include "policies/placement.hpp"

namespace ballast::policies {

// Bring `expert` of `layer` to (seat, slot); sources in order of preference: same node first, then the least busy sender.
struct transfer {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
  seat_id seat{};
  std::uint32_t slot = 0;
  std::vector<seat_id> sources;  // seats that hold the expert when the wave starts; empty: checkpoint
  bool operator==(const transfer&) const = default;
};
struct drop {
  std::uint32_t layer = 0;
  seat_id seat{};
  std::uint32_t slot = 0;
  bool operator==(const drop&) const = default;
};

// stage `adds`, publish `after`, then (once every active seat applied it) reclaim `drops`.
struct wave {
  std::vector<transfer> adds;
  std::vector<drop> drops;
  placement after;
};

struct wave_plan {
  std::vector<wave> waves;
  std::uint64_t copies = 0;       // replicas that are new on their seat
  std::uint64_t node_crossings = 0;  // of those, with sources on other nodes only
};

struct wave_limits {
  std::uint32_t adds_per_seat = 0;  // in one wave; 0: whatever is spare
};

// Slots in `target` are honoured for replicas that stay and chosen here for those that are added, so the last wave's
// `after` equals `target` up to slots; versions count on from base.version. Works with one spare page a seat.
// Shares of a table on the way: the target's where an expert's seats are already the target's, even elsewhere.
// `base` may be a table between two waves of an earlier plan, and may lack experts (without_seats): those are brought
// first, without sources, and tables miss them until then. Every published table again allows any other legal target.
// Seats: every seat named by base or target. Errors: invalid_argument (either placement is not legal), does_not_fit.
result<wave_plan> plan_waves(const placement& base, const placement& target, const std::vector<seat_info>& seats,
                             const wave_limits& limits = {});

// The same plan, one wave at a time: a plan of hundreds of waves holds one table instead of hundreds. One thread.
class wave_schedule {
 public:
  static result<wave_schedule> begin(const placement& base, const placement& target, const std::vector<seat_info>& seats,
                                     const wave_limits& limits = {});
  wave_schedule(wave_schedule&&) noexcept;
  wave_schedule& operator=(wave_schedule&&) noexcept;
  ~wave_schedule();

  result<std::optional<wave>> next();  // nullopt: the last wave's `after` was the target. Error: does_not_fit
  std::uint64_t copies() const noexcept;          // so far
  std::uint64_t node_crossings() const noexcept;  // so far

 private:
  struct impl;
  explicit wave_schedule(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast::policies
