// Placements as other engines write them: per layer, the logical expert in every physical slot, rank by rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "policies/placement.hpp"

namespace ballast::policies {

inline constexpr std::int32_t empty_slot = -1;
inline constexpr std::uint32_t most_dense_layers = 1024;  // before the first with experts; forms list them one by one

struct expert_map {
  std::string model, fingerprint;                 // empty where the file says nothing
  std::uint32_t experts = 0;                      // logical, a layer
  std::uint32_t ranks = 0;                        // 0: the file does not say
  std::uint32_t nodes = 0;                        // likewise
  std::uint32_t first_layer = 0;                  // dense layers before the first of these, where the form counts them
  std::vector<std::vector<std::int32_t>> layers;  // [layer][slot], rank 0's slots first, as many for every rank
  std::vector<std::vector<double>> shares;        // same shape: part of the expert's tokens; empty: even

  std::uint32_t slots() const noexcept { return layers.empty() ? 0 : static_cast<std::uint32_t>(layers[0].size()); }
  bool operator==(const expert_map&) const = default;
};

// At most most_dense_layers before them; layers of one length, ids in -1..experts-1, every expert in every layer, slots
// that the ranks (if known) share evenly, shares in (0, 1] summing to 1. Errors: malformed, naming layer and slot.
status check(const expert_map& map);

// On seats 0.. of map.ranks ranks. A second copy on one rank serves nobody and is left out; its share goes to the
// first. Errors: invalid_argument (ranks unknown), malformed.
result<placement> placement_of(const expert_map& map);

// Rank i is seats[i]; slots beyond a seat's own are empty. Errors: invalid_argument where a replica lies elsewhere.
result<expert_map> map_of(const placement& p, std::uint32_t experts, const std::vector<seat_info>& seats);

// Puts a further copy of a well loaded expert into every empty slot, for forms that know no empty ones. Shares become
// even where it does. `loads`: [layer][expert], empty: even.
void fill_empty_slots(expert_map& map, const load_matrix& loads);

}  // namespace ballast::policies
