#include "policies/formats/expert_map.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace ballast::policies {

namespace {

constexpr double share_tolerance = 1e-6;

std::string text(std::size_t number) { return std::to_string(number); }

tl::unexpected<error> bad(std::size_t layer, const std::string& what) {
  return fail(errc::malformed, "layer " + text(layer) + " " + what);
}

status check_layer(const expert_map& map, std::size_t layer) {
  const auto& row = map.layers[layer];
  if (row.size() != map.slots())
    return bad(layer, "has " + text(row.size()) + " slots, layer 0 has " + text(map.slots()));
  std::vector<double> sums(map.experts);
  std::vector<bool> there(map.experts);
  const bool shared = !map.shares.empty();
  if (shared && map.shares[layer].size() != row.size()) return bad(layer, "has shares for another number of slots");
  for (std::size_t s = 0; s < row.size(); ++s) {
    if (row[s] == empty_slot) continue;
    if (row[s] < 0 || static_cast<std::uint32_t>(row[s]) >= map.experts) {
      return bad(layer,
                 "slot " + text(s) + " names expert " + std::to_string(row[s]) + ", there are " + text(map.experts));
    }
    const auto e = static_cast<std::size_t>(row[s]);
    there[e] = true;
    if (!shared) continue;
    const double share = map.shares[layer][s];
    if (!(share > 0 && share <= 1)) return bad(layer, "slot " + text(s) + ": share is not in (0, 1]");
    sums[e] += share;
  }
  for (std::size_t e = 0; e < there.size(); ++e) {
    if (!there[e]) return bad(layer, "has no slot for expert " + text(e) + "; every expert needs one");
    if (shared && std::abs(sums[e] - 1) > share_tolerance)
      return bad(layer, "shares of expert " + text(e) + " do not sum to 1");
  }
  return {};
}

}  // namespace

status check(const expert_map& map) {
  if (map.layers.empty() || map.slots() == 0 || map.experts == 0)
    return fail(errc::malformed, "a placement without layers or slots");
  if (map.first_layer > most_dense_layers)
    return fail(errc::malformed, "layers begin with " + text(map.first_layer) + "; at most " + text(most_dense_layers) +
                                     " dense ones come before them: is the number right?");
  if (map.experts > map.slots())
    return fail(errc::malformed, text(map.experts) + " experts are named, a layer has " + text(map.slots()) + " slots");
  if (!map.shares.empty() && map.shares.size() != map.layers.size())
    return fail(errc::malformed, "shares for another number of layers");
  if (map.ranks != 0 && map.slots() % map.ranks != 0) {
    return fail(errc::malformed,
                text(map.slots()) + " slots a layer are not to be shared evenly by " + text(map.ranks) + " ranks");
  }
  for (std::size_t layer = 0; layer < map.layers.size(); ++layer) {
    if (auto ok = check_layer(map, layer); !ok) return ok;
  }
  return {};
}

result<placement> placement_of(const expert_map& map) {
  if (map.ranks == 0) return fail(errc::invalid_argument, "the placement does not say for how many ranks it is");
  if (auto ok = check(map); !ok) return fail(ok.error());
  placement out;
  out.version = 1;
  const auto room = map.slots() / map.ranks;
  for (std::size_t layer = 0; layer < map.layers.size(); ++layer) {
    auto& experts = out.layers.emplace_back(map.experts);
    std::vector<std::uint32_t> copies(map.experts);
    const auto& row = map.layers[layer];
    for (const auto id : row) {
      if (id != empty_slot) ++copies[static_cast<std::size_t>(id)];
    }
    for (std::uint32_t s = 0; s < row.size(); ++s) {
      if (row[s] == empty_slot) continue;
      const auto e = static_cast<std::size_t>(row[s]);
      const double share = map.shares.empty() ? 1.0 / copies[e] : map.shares[layer][s];
      const seat_id seat{s / room};
      auto& replicas = experts[e];
      if (!replicas.empty() && replicas.back().seat == seat) {
        replicas.back().share = std::min(1.0, replicas.back().share + share);
      } else {
        replicas.push_back({seat, s % room, share});
      }
    }
  }
  return out;
}

result<expert_map> map_of(const placement& p, std::uint32_t experts, const std::vector<seat_info>& seats) {
  std::map<seat_id, std::size_t> rank;
  std::uint32_t room = 0;
  std::vector<std::uint32_t> nodes;
  for (const auto& s : seats) {
    rank.emplace(s.seat, rank.size());
    room = std::max(room, s.capacity.slots_per_layer);
    nodes.push_back(s.node);
  }
  std::sort(nodes.begin(), nodes.end());
  expert_map out;
  out.experts = experts;
  out.ranks = static_cast<std::uint32_t>(seats.size());
  out.nodes = static_cast<std::uint32_t>(std::unique(nodes.begin(), nodes.end()) - nodes.begin());
  bool even = true;
  for (const auto& layer : p.layers) {
    auto& row = out.layers.emplace_back(std::size_t{room} * seats.size(), empty_slot);
    auto& shares = out.shares.emplace_back(row.size());
    for (std::size_t e = 0; e < layer.size(); ++e) {
      for (const auto& r : layer[e]) {
        const auto at = rank.find(r.seat);
        if (at == rank.end() || r.slot >= room)
          return fail(errc::invalid_argument, "a replica lies on a seat or slot that is none of the given ones");
        const auto slot = at->second * room + r.slot;
        row[slot] = static_cast<std::int32_t>(e);
        shares[slot] = r.share;
        even = even && std::abs(r.share * static_cast<double>(layer[e].size()) - 1) < 1e-9;
      }
    }
  }
  if (even) out.shares.clear();
  return out;
}

void fill_empty_slots(expert_map& map, const load_matrix& loads) {
  const auto room = map.ranks == 0 ? map.slots() : map.slots() / map.ranks;
  bool filled = false;
  for (std::size_t layer = 0; layer < map.layers.size(); ++layer) {
    auto& row = map.layers[layer];
    std::vector<double> copies(map.experts);
    for (const auto id : row) {
      if (id != empty_slot) ++copies[static_cast<std::size_t>(id)];
    }
    const auto part = [&](std::size_t e) { return (loads.empty() ? 1.0 : loads[layer][e]) / copies[e]; };
    for (std::size_t s = 0; s < row.size(); ++s) {
      if (row[s] != empty_slot) continue;
      const auto first = row.begin() + static_cast<std::ptrdiff_t>(s / room * room);
      std::size_t best = map.experts;
      for (std::size_t e = 0; e < map.experts; ++e) {
        if (std::find(first, first + room, static_cast<std::int32_t>(e)) != first + room) continue;
        if (best == map.experts || part(e) > part(best)) best = e;
      }
      if (best == map.experts) best = 0;  // the rank holds them all
      row[s] = static_cast<std::int32_t>(best);
      ++copies[best];
      filled = true;
    }
  }
  if (filled) map.shares.clear();
}

}  // namespace ballast::policies
