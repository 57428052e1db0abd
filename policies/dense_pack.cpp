#include "policies/dense_pack.hpp"

#include <algorithm>
#include <bit>

namespace ballast::policies {

namespace {

constexpr std::uint32_t none = ~0U;
constexpr float full = 1e30F;

// Descending weight, then ascending expert: one integer to sort by. Weights are >= 0, so their bits are in order.
std::uint64_t key_of(float weight, std::uint32_t expert) {
  return (std::uint64_t{~std::bit_cast<std::uint32_t>(weight)} << 32) | expert;
}

class packer {
 public:
  packer(const float* weights, std::uint32_t experts, const rank_table& ranks, const std::uint32_t* home,
         pack_space& space, std::int32_t* slots)
      : weights_(weights), experts_(experts), ranks_(ranks), home_(home), p_(space), slots_(slots) {}

  void run(std::uint32_t replicas) {
    count_copies(replicas);
    order_replicas();
    std::uint32_t slot = 0;
    p_.count.assign(ranks_.size(), 0);
    p_.done.assign(ranks_.size(), full);  // when a rank ends, or never where it takes no more
    p_.pace.assign(ranks_.size(), 0);
    p_.members.resize(ranks_.size());
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      p_.members[r] = slot;  // where its slots begin
      slot += ranks_.room[r];
      p_.pace[r] = 1 / ranks_.speed[r];
      if (ranks_.room[r] > 0) p_.done[r] = 0;
    }
    std::fill(slots_, slots_ + slot, -1);
    count_homes();
    std::uint32_t previous = none, placed = 0;
    for (const auto e : p_.order) {
      const bool is_first = e != previous;
      previous = e;
      placed += put(e, is_first) ? 1 : 0;
    }
    while (placed < replicas && top_up()) ++placed;
  }

 private:
  void count_copies(std::uint32_t replicas) {
    p_.keys.resize(experts_);
    for (std::uint32_t e = 0; e < experts_; ++e) p_.keys[e] = key_of(weights_[e], e);
    std::sort(p_.keys.begin(), p_.keys.end());
    p_.copies.assign(experts_, 1);
    p_.each.assign(weights_, weights_ + experts_);
    // The heaviest replica is the next expert in order or one that has been split already.
    const auto lighter = [&](std::uint32_t a, std::uint32_t b) {
      return p_.each[a] != p_.each[b] ? p_.each[a] < p_.each[b] : a > b;
    };
    p_.heap.clear();
    std::uint32_t next = 0;
    for (std::uint32_t count = experts_; count < replicas; ++count) {
      if (next < experts_) {
        const auto e = static_cast<std::uint32_t>(p_.keys[next]);
        if (p_.heap.empty() || !lighter(e, p_.heap.front())) {
          ++next;
          p_.heap.push_back(e);
          std::push_heap(p_.heap.begin(), p_.heap.end(), lighter);
        }
      }
      if (p_.heap.empty()) break;
      std::pop_heap(p_.heap.begin(), p_.heap.end(), lighter);
      const auto e = p_.heap.back();
      if (p_.copies[e] >= ranks_.size()) {
        p_.heap.pop_back();
        --count;
        if (p_.heap.empty() && next == experts_) break;
        continue;
      }
      p_.each[e] = weights_[e] / static_cast<float>(++p_.copies[e]);
      std::push_heap(p_.heap.begin(), p_.heap.end(), lighter);
    }
  }

  void order_replicas() {
    for (std::uint32_t e = 0; e < experts_; ++e) p_.keys[e] = key_of(p_.each[e], e);
    std::sort(p_.keys.begin(), p_.keys.end());
    p_.order.clear();
    for (const auto key : p_.keys) {
      const auto e = static_cast<std::uint32_t>(key);
      for (std::uint32_t c = 0; c < p_.copies[e]; ++c) p_.order.push_back(e);
    }
  }

  void count_homes() {
    if (home_ == nullptr) return;
    p_.free_slots.assign(ranks_.nodes, 0);
    p_.homes_left.assign(ranks_.nodes, 0);
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) p_.free_slots[ranks_.node[r]] += ranks_.room[r];
    for (std::uint32_t e = 0; e < experts_; ++e) p_.homes_left[home_[e]] += 1;
  }

  bool holds(std::uint32_t rank, std::uint32_t expert) const {
    const auto* at = slots_ + p_.members[rank];
    return std::find(at, at + p_.count[rank], static_cast<std::int32_t>(expert)) != at + p_.count[rank];
  }
  bool node_allows(std::uint32_t rank, std::uint32_t expert, bool is_first) const {
    if (home_ == nullptr) return true;
    const auto node = ranks_.node[rank];
    return is_first ? home_[expert] == node : p_.free_slots[node] > p_.homes_left[node];
  }

  bool may_take(std::uint32_t rank, std::uint32_t expert, bool is_first) const {
    return node_allows(rank, expert, is_first) && (is_first || !holds(rank, expert));
  }
  bool put(std::uint32_t expert, bool is_first) {
    auto best = soonest(p_.each[expert]);
    if (!(p_.done[best] < full)) return false;
    if (!may_take(best, expert, is_first)) best = soonest_that_may(expert, is_first);
    if (best == none) return false;
    fill(best, expert);
    if (home_ != nullptr && is_first) --p_.homes_left[ranks_.node[best]];
    return true;
  }

  // The rank where a load ends first; the lowest of several.
  std::uint32_t soonest(float load) const {
    const float *done = p_.done.data(), *pace = p_.pace.data();
    std::uint32_t best = 0;
    float least = full * 2;
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      const float time = done[r] + pace[r] * load;
      best = time < least ? r : best;
      least = time < least ? time : least;
    }
    return best;
  }
  std::uint32_t soonest_that_may(std::uint32_t expert, bool is_first) const {
    std::uint32_t best = none;
    float best_time = full;
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      const float time = p_.done[r] + p_.pace[r] * p_.each[expert];
      if (time < best_time && may_take(r, expert, is_first)) {
        best = r;
        best_time = time;
      }
    }
    return best;
  }
  void fill(std::uint32_t rank, std::uint32_t expert) {
    slots_[p_.members[rank] + p_.count[rank]++] = static_cast<std::int32_t>(expert);
    p_.done[rank] = p_.count[rank] < ranks_.room[rank] ? p_.done[rank] + p_.pace[rank] * p_.each[expert] : full;
    if (home_ != nullptr) --p_.free_slots[ranks_.node[rank]];
  }

  // A copy found only ranks that hold its expert: the heaviest expert that still fits somewhere gets one more.
  bool top_up() {
    std::uint32_t expert = none, rank = none;
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      if (p_.count[r] >= ranks_.room[r]) continue;
      for (const auto e : p_.order) {
        if (expert != none && p_.each[e] <= p_.each[expert]) break;
        if (holds(r, e)) continue;
        expert = e;
        rank = r;
        break;
      }
    }
    if (expert == none) return false;
    fill(rank, expert);
    return true;
  }

  const float* weights_;
  std::uint32_t experts_;
  const rank_table& ranks_;
  const std::uint32_t* home_;
  pack_space& p_;
  std::int32_t* slots_;
};

}  // namespace

void pack(const float* weights, std::uint32_t experts, std::uint32_t replicas, const rank_table& ranks,
          const std::uint32_t* home, pack_space& space, std::int32_t* slots) {
  packer(weights, experts, ranks, home, space, slots).run(replicas);
}

namespace {

struct run {  // what one rank gets of a layout in order
  std::int32_t* slots;
  std::uint64_t first, experts, replicas;  // its first expert, how many, and those with its spare copies
  std::uint64_t given = 0;                 // spare copies of its experts on other ranks

  // The next of these experts that is not among `held`; -1 if all are.
  std::int32_t give(const std::int32_t* begin, const std::int32_t* end) {
    for (std::uint64_t tried = 0; tried < experts; ++tried) {
      const auto expert = static_cast<std::int32_t>(first + (given + tried) % experts);
      if (std::find(begin, end, expert) != end) continue;
      ++given;
      return expert;
    }
    return -1;
  }
};

}  // namespace

void pack_in_order(std::uint32_t experts, std::uint32_t replicas, const rank_table& ranks, std::int32_t* slots) {
  std::vector<run> runs;
  std::uint64_t room = 0, seen = 0, spares = 0;
  for (const auto r : ranks.room) room += r;
  std::fill(slots, slots + room, -1);
  for (const auto r : ranks.room) {  // in proportion to room, so that the last rank ends with the last of each
    const auto begin = seen * replicas / room, end = (seen + r) * replicas / room;
    const auto first = begin * experts / replicas, last = end * experts / replicas;
    runs.push_back({slots + seen, first, last - first, end - begin});
    for (auto e = first; e < last; ++e) slots[seen + e - first] = static_cast<std::int32_t>(e);
    spares = std::max(spares, end - begin - (last - first));
    seen += r;
  }
  // Every rank's first spare copy is of the rank behind it, its second of the one behind that, and so on: all give
  // away equally much.
  const auto others = runs.size() - 1;
  for (std::uint64_t spare = 0; spare < spares; ++spare) {
    for (std::size_t r = 0; r < runs.size(); ++r) {
      const auto& to = runs[r];
      if (to.experts + spare >= to.replicas) continue;
      auto* const at = std::find(to.slots, to.slots + to.replicas, -1);
      for (std::size_t step = 0; step < others && *at < 0; ++step)
        *at = runs[(r + 1 + (spare + step) % others) % runs.size()].give(to.slots, at);
    }
  }
}

namespace {

class mender {
 public:
  mender(dense_layer& layer, std::uint32_t replicas) : d_(layer), replicas_(replicas) {
    load_.resize(d_.ranks);
    for (std::uint32_t lane = 0; lane < d_.lanes; ++lane) add(lane, 1);
  }

  bool run() {
    std::vector<std::uint32_t> missing;
    for (std::uint32_t e = 0; e < d_.experts; ++e) {
      if (d_.copies[e] == 0 || (d_.home[e] != no_node && d_.home_copies[e] == 0)) missing.push_back(e);
    }
    std::stable_sort(missing.begin(), missing.end(), [&](auto a, auto b) { return weight(a) > weight(b); });
    for (const auto e : missing) bring(e);
    const bool too_many = d_.replicas > replicas_;
    while (d_.replicas > replicas_) put(least_missed(no_node), d_.experts);
    return !missing.empty() || too_many;
  }

 private:
  float weight(std::uint32_t e) const { return d_.weight[e * d_.row]; }
  float each(std::uint32_t e) const { return weight(e) / static_cast<float>(std::max(1U, d_.copies[e])); }
  void add(std::uint32_t lane, float sign) {
    if (!d_.is_empty(lane)) load_[d_.rank_at[lane]] += sign * each(d_.expert_at[lane]);
  }
  void put(std::uint32_t lane, std::uint32_t expert) {
    const auto rank = d_.rank_at[lane];
    load_[rank] -= d_.is_empty(lane) ? 0 : each(d_.expert_at[lane]);
    d_.vacate(lane);
    if (expert == d_.experts) return;
    d_.occupy(lane, expert);
    load_[rank] += each(expert);
  }
  bool on(std::uint32_t lane, std::uint32_t node) const {
    return node == no_node || d_.table.node[d_.rank_at[lane]] == node;
  }
  bool spare(std::uint32_t lane) const {
    const auto e = d_.expert_at[lane];
    return e != d_.experts && d_.copies[e] > 1 && !d_.bound_to_home(e, d_.table.node[d_.rank_at[lane]]);
  }

  // The redundant copy whose load, spread over the others, is least.
  std::uint32_t least_missed(std::uint32_t node) const {
    std::uint32_t best = none;
    float best_cost = 0;
    for (std::uint32_t lane = 0; lane < d_.lanes; ++lane) {
      if (!spare(lane) || !on(lane, node)) continue;
      const auto e = d_.expert_at[lane];
      const float cost = each(e) / static_cast<float>(d_.copies[e] - 1);
      if (best == none || cost < best_cost ||
          (cost == best_cost && load_[d_.rank_at[lane]] > load_[d_.rank_at[best]])) {
        best = lane;
        best_cost = cost;
      }
    }
    return best;
  }
  std::uint32_t empty_slot(std::uint32_t node, std::uint32_t expert) const {
    std::uint32_t best = none;
    float best_time = 0;
    for (std::uint32_t r = 0; r < d_.ranks; ++r) {
      if (d_.holds(expert, r) || (node != no_node && d_.table.node[r] != node)) continue;
      for (auto lane = d_.first[r]; lane < d_.first[r] + d_.table.room[r]; ++lane) {
        if (!d_.is_empty(lane)) continue;
        const float time = (load_[r] + weight(expert)) * d_.pace[r];
        if (best == none || time < best_time) {
          best = lane;
          best_time = time;
        }
        break;
      }
    }
    return best;
  }

  void bring(std::uint32_t expert) {
    if (d_.copies[expert] > 0 && d_.home_copies[expert] > 0) return;
    const auto node = d_.home[expert];
    auto lane = empty_slot(node, expert);
    if (lane == none) lane = least_missed(node);
    if (lane == none) {  // at home only strangers: one of them goes where this expert was, or where there is room
      lane = stranger(node);
      const auto other = d_.expert_at[lane];
      put(lane, expert);
      auto to = empty_slot(no_node, other);
      if (to == none) to = least_missed(no_node);
      put(to, other);
      return;
    }
    put(lane, expert);
  }
  std::uint32_t stranger(std::uint32_t node) const {
    std::uint32_t best = none;
    for (std::uint32_t lane = 0; lane < d_.lanes; ++lane) {
      const auto e = d_.expert_at[lane];
      if (e == d_.experts || !on(lane, node) || d_.home[e] == node) continue;
      if (best == none || weight(e) < weight(d_.expert_at[best])) best = lane;
    }
    return best;
  }

  dense_layer& d_;
  std::uint32_t replicas_;
  std::vector<float> load_;
};

}  // namespace

bool make_legal(dense_layer& layer, std::uint32_t replicas) { return mender(layer, replicas).run(); }

}  // namespace ballast::policies
