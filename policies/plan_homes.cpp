#include "policies/plan_homes.hpp"

#include <algorithm>

namespace ballast::policies {

namespace {

// Empty if every node can be home to its part of the groups.
std::string why_no_homes(const plan_shape& shape, const rank_table& ranks) {
  if (shape.groups < 2) return "experts have no groups";
  if (shape.experts % shape.groups != 0) {
    return std::to_string(shape.experts) + " experts do not make " + std::to_string(shape.groups) + " equal groups";
  }
  if (shape.groups % ranks.nodes != 0) {
    return std::to_string(shape.groups) + " groups do not spread evenly over " + std::to_string(ranks.nodes) + " nodes";
  }
  std::vector<std::uint32_t> room(ranks.nodes);
  for (std::uint32_t r = 0; r < ranks.size(); ++r) room[ranks.node[r]] += std::min(ranks.room[r], shape.experts);
  const auto least = *std::min_element(room.begin(), room.end()), needed = shape.experts / ranks.nodes;
  if (least >= needed) return {};
  return "a node holds " + std::to_string(least) + " replicas a layer, its groups have " + std::to_string(needed) +
         " experts";
}

}  // namespace

home_table::home_table(const plan_shape& shape, const rank_table& ranks, bool wanted, std::vector<std::string>& notes)
    : ranks_(&ranks), experts_(shape.experts) {
  if (!wanted || ranks.nodes < 2) return;
  if (const auto why = why_no_homes(shape, ranks); !why.empty())
    notes.push_back("no home copies: " + why);
  else
    groups_ = shape.groups;
}

std::vector<std::uint32_t> home_table::of_layer(const float* weights, std::uint32_t row,
                                                const std::int32_t* slots) const {
  std::vector<std::uint32_t> home(experts_ + 1, no_node);
  if (!active()) return home;
  const auto nodes = ranks_->nodes, size = experts_ / groups_, each = groups_ / nodes;
  std::vector<float> weight(groups_), load(nodes);
  for (std::uint32_t e = 0; e < experts_; ++e) weight[e / size] += weights[e * row];
  std::vector<std::uint32_t> here(groups_ * nodes), taken(nodes), order(groups_), node_of(groups_, no_node);
  if (slots != nullptr) {
    for (std::uint32_t r = 0; r < ranks_->size(); ++r) {
      for (std::uint32_t k = 0; k < ranks_->room[r]; ++k, ++slots) {
        if (*slots >= 0) ++here[static_cast<std::uint32_t>(*slots) / size * nodes + ranks_->node[r]];
      }
    }
  }
  for (std::uint32_t g = 0; g < groups_; ++g) order[g] = g;
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return weight[a] > weight[b]; });
  for (std::uint32_t n = 0; n < groups_; ++n) {
    // The group and node with most copies in common; without any, the heaviest group to the lightest node.
    std::uint32_t group = groups_, node = 0;
    for (const auto g : order) {
      if (node_of[g] != no_node) continue;
      for (std::uint32_t m = 0; m < nodes; ++m) {
        if (taken[m] == each) continue;
        const auto common = here[g * nodes + m], best = group == groups_ ? 0 : here[group * nodes + node];
        if (group == groups_ || common > best || (common == best && g == group && load[m] < load[node]))
          group = g, node = m;
      }
    }
    node_of[group] = node;
    load[node] += weight[group];
    ++taken[node];
  }
  for (std::uint32_t e = 0; e < experts_; ++e) home[e] = node_of[e / size];
  return home;
}

}  // namespace ballast::policies
