// From one placement to another in waves that fit into the spare pages, so that every expert keeps a replica in every
// table that is ever published (I1) and no page is written while a table names it (I3).
#pragma once

#include <cstdint>
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
  std::uint64_t node_crossings = 0;  // of those, with no source on the same node
};

struct wave_limits {
  std::uint32_t adds_per_seat = 0;  // in one wave; 0: whatever is spare
};

// Slots in `target` are honoured for replicas that stay and chosen here for those that are added, so the last wave's
// `after` equals `target` up to slots; versions count on from base.version. Works with one spare page a seat.
// Seats: every seat named by base or target. Errors: invalid_argument (either placement is not legal), does_not_fit.
result<wave_plan> plan_waves(const placement& base, const placement& target, const std::vector<seat_info>& seats,
                             const wave_limits& limits = {});

}  // namespace ballast::policies
