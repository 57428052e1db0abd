// A layer from nothing, or made legal with the least harm. Private to policies/.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/dense_layer.hpp"

namespace ballast::policies {

// Memory for packing; once a thread.
struct pack_space {
  std::vector<std::uint32_t> order, copies, heap, members, count, free_slots, homes_left;
  std::vector<std::uint64_t> keys;
  std::vector<float> each, done, pace;
};

// Copies for the heaviest experts, then the heaviest replica first to the rank that is done soonest. weights[expert];
// home[expert]: node that gets a copy, or no_node (may be null). Writes the slots of all ranks, -1 for empty ones.
void pack(const float* weights, std::uint32_t experts, std::uint32_t replicas, const rank_table& ranks,
          const std::uint32_t* home, pack_space& space, std::int32_t* slots);

// Experts in order, in equal runs; then spare copies, one of every expert before a second of any, taken evenly from all
// ranks.
void pack_in_order(std::uint32_t experts, std::uint32_t replicas, const rank_table& ranks, std::int32_t* slots);

// Every expert somewhere (and at home, where it has one), no more than `replicas` in all. Loads are those of snapshot 0
// and need not be fresh; they are not afterwards. True if anything had to change.
bool make_legal(dense_layer& layer, std::uint32_t replicas);

}  // namespace ballast::policies
