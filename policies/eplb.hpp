// The published EPLB heuristic: groups of experts packed to nodes, experts replicated within a node, replicas packed to
// GPUs; without usable groups the same with one node. Made legal for any shape: no expert twice on a seat, seats of
// unequal quota and speed. Equal to the published result wherever that is legal. Pure, deterministic.
#pragma once

#include <cstdint>
#include <vector>

namespace ballast::policies {

struct eplb_seat {
  std::uint32_t quota = 0;  // replicas it gets, exactly
  std::uint32_t node = 0;
  double speed = 1.0;
};

// True if `groups` can be kept whole on the nodes of these seats: equal nodes, groups spread evenly, room for all.
bool eplb_hierarchical(std::uint32_t experts, std::uint32_t groups, const std::vector<eplb_seat>& seats);

// One layer: the experts of every seat, in slot order. Every quota <= experts, and their sum >= experts.
std::vector<std::vector<std::uint32_t>> eplb_layer(const std::vector<double>& weights, std::uint32_t groups,
                                                   const std::vector<eplb_seat>& seats);

// The form in which the heuristic is published: logical expert of each physical one, GPU-major. `replicas` is a
// multiple of `gpus`, `gpus` of `nodes`.
std::vector<std::uint32_t> eplb_physical_to_logical(const std::vector<double>& weights, std::uint32_t replicas,
                                                    std::uint32_t groups, std::uint32_t nodes, std::uint32_t gpus);

}  // namespace ballast::policies
