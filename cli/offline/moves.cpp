#include "cli/offline/moves.hpp"

#include <algorithm>
#include <unordered_map>

namespace ballast::offline {

move_count count_moves(const placement& before, const placement& after, const std::vector<policies::seat_info>& seats) {
  std::unordered_map<std::uint32_t, std::uint32_t> node;
  move_count out;
  for (const auto& s : seats) {
    node[index_of(s.seat)] = s.node;
    out.nodes.resize(std::max<std::size_t>(out.nodes.size(), s.node + 1));
  }
  std::unordered_map<std::uint32_t, std::uint64_t> received;
  for (std::size_t l = 0; l < after.layers.size(); ++l) {
    const auto moves_so_far = out.moves;
    for (std::size_t e = 0; e < after.layers[l].size(); ++e) {
      const auto& old = before.layers[l][e];
      for (const auto& r : after.layers[l][e]) {
        if (std::any_of(old.begin(), old.end(), [&](const auto& o) { return o.seat == r.seat; })) continue;
        const auto home = node[index_of(r.seat)];
        const bool near = std::any_of(old.begin(), old.end(), [&](const auto& o) {
          const auto at = node.find(index_of(o.seat));
          return at != node.end() && at->second == home;
        });
        ++out.moves;
        ++out.nodes[home].received;
        out.nodes[home].from_others += near ? 0 : 1;
        out.across_nodes += near ? 0 : 1;
        out.max_receiver = std::max(out.max_receiver, ++received[index_of(r.seat)]);
      }
    }
    out.layers += out.moves > moves_so_far ? 1 : 0;
  }
  return out;
}

}  // namespace ballast::offline
