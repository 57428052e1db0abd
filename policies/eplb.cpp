#include "policies/eplb.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace ballast::policies {

namespace {

using ids = std::vector<std::uint32_t>;

ids by_weight_descending(const std::vector<double>& weights) {
  ids order(weights.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return weights[a] > weights[b]; });
  return order;
}

// Items to packs of equal size, heaviest first, each to the lightest pack with room. Returns the pack of each item;
// items of a pack keep the order in which they came to it in `members`.
std::vector<ids> pack_evenly(const std::vector<double>& weights, std::uint32_t packs) {
  const auto size = weights.size() / packs;
  std::vector<ids> members(packs);
  if (size == 1) {
    for (std::uint32_t i = 0; i < packs; ++i) members[i] = {i};
    return members;
  }
  std::vector<double> load(packs);
  for (const auto item : by_weight_descending(weights)) {
    std::uint32_t best = packs;
    for (std::uint32_t p = 0; p < packs; ++p) {
      if (members[p].size() < size && (best == packs || load[p] < load[best])) best = p;
    }
    members[best].push_back(item);
    load[best] += weights[item];
  }
  return members;
}

// Every expert once, then copies of whichever has the heaviest replicas; at most copies_max of one.
ids replicate(const std::vector<double>& weights, std::size_t replicas, std::size_t copies_max) {
  const auto experts = weights.size();
  ids physical(experts);
  std::iota(physical.begin(), physical.end(), 0U);
  std::vector<std::uint32_t> count(experts, 1);
  while (physical.size() < replicas) {
    std::size_t best = experts;
    for (std::size_t e = 0; e < experts; ++e) {
      if (count[e] < copies_max && (best == experts || weights[e] / count[e] > weights[best] / count[best])) best = e;
    }
    if (best == experts) break;
    physical.push_back(static_cast<std::uint32_t>(best));
    ++count[best];
  }
  return physical;
}

// Replicas of one node to its seats.
class seat_packer {
 public:
  seat_packer(const std::vector<double>& weights, const ids& physical, const std::vector<eplb_seat>& seats)
      : weights_(weights),
        physical_(physical),
        seats_(seats),
        count_(weights.size(), 0),
        load_(seats.size(), 0.0),
        experts_(seats.size()),
        holds_(seats.size() * weights.size(), false) {
    for (const auto e : physical) ++count_[e];
    equal_speed_ = std::all_of(seats.begin(), seats.end(), [&](const auto& s) { return s.speed == seats[0].speed; });
  }

  std::vector<ids> pack() {
    const bool one_each = std::all_of(seats_.begin(), seats_.end(), [](const auto& s) { return s.quota == 1; });
    std::vector<double> share(physical_.size());
    for (std::size_t i = 0; i < physical_.size(); ++i) share[i] = weights_[physical_[i]] / count_[physical_[i]];
    ids order(physical_.size());
    std::iota(order.begin(), order.end(), 0U);
    if (!one_each) order = by_weight_descending(share);
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto expert = physical_[order[i]];
      const auto best = one_each ? i : lightest(expert, share[order[i]]);
      if (best < seats_.size())
        put(best, expert, share[order[i]]);
      else
        mend(expert, share[order[i]]);
    }
    return std::move(experts_);
  }

 private:
  bool holds(std::size_t seat, std::uint32_t expert) const { return holds_[seat * weights_.size() + expert]; }
  bool room(std::size_t seat) const { return experts_[seat].size() < seats_[seat].quota; }
  void put(std::size_t seat, std::uint32_t expert, double weight) {
    experts_[seat].push_back(expert);
    holds_[seat * weights_.size() + expert] = true;
    load_[seat] += weight;
  }
  std::size_t lightest(std::uint32_t expert, double weight) const {
    std::size_t best = seats_.size();
    double best_key = 0;
    for (std::size_t s = 0; s < seats_.size(); ++s) {
      if (!room(s) || holds(s, expert)) continue;
      const double key = equal_speed_ ? load_[s] : (load_[s] + weight) / seats_[s].speed;
      if (best == seats_.size() || key < best_key) best = s, best_key = key;
    }
    return best;
  }

  // Every seat with room holds the expert already: make room where it is missing by handing one of that seat's experts
  // on.
  void mend(std::uint32_t expert, double weight) {
    for (std::size_t open = 0; open < seats_.size(); ++open) {
      if (!room(open)) continue;
      for (std::size_t full = 0; full < seats_.size(); ++full) {
        if (holds(full, expert)) continue;
        for (std::size_t i = experts_[full].size(); i-- > 0;) {  // the lightest came last
          const auto other = experts_[full][i];
          if (holds(open, other)) continue;
          const double other_weight = weights_[other] / count_[other];
          put(open, other, other_weight);
          holds_[full * weights_.size() + other] = false;
          experts_[full][i] = expert;
          holds_[full * weights_.size() + expert] = true;
          load_[full] += weight - other_weight;
          return;
        }
      }
      give_another(open, expert);
      return;
    }
  }

  // No exchange helps: the seat gets a copy of the hottest expert that it lacks.
  void give_another(std::size_t seat, std::uint32_t instead_of) {
    std::uint32_t best = static_cast<std::uint32_t>(weights_.size());
    for (std::uint32_t e = 0; e < weights_.size(); ++e) {
      if (holds(seat, e)) continue;
      if (best == weights_.size() || weights_[e] / count_[e] > weights_[best] / count_[best]) best = e;
    }
    if (best == weights_.size()) return;
    --count_[instead_of];
    ++count_[best];
    put(seat, best, weights_[best] / count_[best]);
  }

  const std::vector<double>& weights_;
  const ids& physical_;
  const std::vector<eplb_seat>& seats_;
  std::vector<std::uint32_t> count_;
  std::vector<double> load_;
  std::vector<ids> experts_;
  std::vector<bool> holds_;
  bool equal_speed_ = true;
};

std::vector<ids> one_node(const std::vector<double>& weights, const std::vector<eplb_seat>& seats) {
  std::size_t replicas = 0;
  for (const auto& s : seats) replicas += s.quota;
  const auto physical = replicate(weights, replicas, seats.size());
  return seat_packer(weights, physical, seats).pack();
}

std::map<std::uint32_t, ids> seats_by_node(const std::vector<eplb_seat>& seats) {
  std::map<std::uint32_t, ids> nodes;
  for (std::uint32_t s = 0; s < seats.size(); ++s) nodes[seats[s].node].push_back(s);
  return nodes;
}

}  // namespace

bool eplb_hierarchical(std::uint32_t experts, std::uint32_t groups, const std::vector<eplb_seat>& seats) {
  const auto nodes = seats_by_node(seats);
  const auto count = static_cast<std::uint32_t>(nodes.size());
  if (count < 2 || groups == 0 || groups % count != 0 || experts % groups != 0) return false;
  const auto size = nodes.begin()->second.size();
  const auto experts_here = experts / count;
  std::uint64_t first = 0;
  for (const auto& [node, members] : nodes) {
    std::uint64_t quota = 0;
    for (const auto s : members) {
      if (seats[s].quota > experts_here) return false;  // it would hold an expert twice
      quota += seats[s].quota;
    }
    if (first == 0) first = quota;
    if (members.size() != size || quota != first || quota < experts_here) return false;
  }
  return true;
}

std::vector<std::vector<std::uint32_t>> eplb_layer(const std::vector<double>& weights, std::uint32_t groups,
                                                   const std::vector<eplb_seat>& seats) {
  const auto experts = static_cast<std::uint32_t>(weights.size());
  if (!eplb_hierarchical(experts, groups, seats)) return one_node(weights, seats);
  const auto nodes = seats_by_node(seats);
  const auto group_size = experts / groups;
  std::vector<double> group_weights(groups);
  for (std::uint32_t e = 0; e < experts; ++e) group_weights[e / group_size] += weights[e];
  const auto groups_of = pack_evenly(group_weights, static_cast<std::uint32_t>(nodes.size()));
  std::vector<ids> out(seats.size());
  std::size_t number = 0;
  for (const auto& [node, members] : nodes) {
    ids global;  // logical experts of this node, in the order of its groups
    for (const auto group : groups_of[number]) {
      for (std::uint32_t i = 0; i < group_size; ++i) global.push_back(group * group_size + i);
    }
    ++number;
    std::vector<double> local(global.size());
    for (std::size_t i = 0; i < global.size(); ++i) local[i] = weights[global[i]];
    std::vector<eplb_seat> here;
    for (const auto s : members) here.push_back(seats[s]);
    const auto packed = one_node(local, here);
    for (std::size_t i = 0; i < members.size(); ++i) {
      for (const auto e : packed[i]) out[members[i]].push_back(global[e]);
    }
  }
  return out;
}

std::vector<std::uint32_t> eplb_physical_to_logical(const std::vector<double>& weights, std::uint32_t replicas,
                                                    std::uint32_t groups, std::uint32_t nodes, std::uint32_t gpus) {
  std::vector<eplb_seat> seats(gpus);
  for (std::uint32_t g = 0; g < gpus; ++g) seats[g] = {replicas / gpus, g / (gpus / nodes), 1.0};
  ids flat;
  for (const auto& seat : eplb_layer(weights, groups, seats)) flat.insert(flat.end(), seat.begin(), seat.end());
  return flat;
}

}  // namespace ballast::policies
