#include "policies/share_pack.hpp"

#include <algorithm>
#include <numeric>

namespace ballast::policies {

namespace {

constexpr std::uint32_t no_rank = ~0U;

// Of a rank's mean load: what it is worth to hang one expert nearer to the hottest one. Long chains even out badly, for
// all that is beyond a link must pass through it.
constexpr float deep = 0.05F;

class joined_packer {
 public:
  joined_packer(const float* weights, std::uint32_t experts, const rank_table& ranks, std::int32_t* slots)
      : weights_(weights),
        ranks_(ranks),
        slots_(slots),
        copies_(experts, 1),
        load_(ranks.size(), 0.0F),
        count_(ranks.size(), 0),
        joined_(ranks.size(), 0),
        begin_(ranks.size(), 0),
        depth_(ranks.size(), 0) {
    for (std::uint32_t r = 1; r < ranks.size(); ++r) begin_[r] = begin_[r - 1] + ranks.room[r - 1];
    std::fill(slots, slots + begin_.back() + ranks.room.back(), -1);
  }

  void run(std::uint32_t replicas) {
    count_copies(replicas);
    deep_cost_ = deep * std::accumulate(weights_, weights_ + copies_.size(), 0.0F) / static_cast<float>(ranks_.size());
    std::vector<std::uint32_t> order(copies_.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
      const bool split_a = copies_[a] > 1, split_b = copies_[b] > 1;
      return split_a != split_b ? split_a : each(a) > each(b);
    });
    for (const auto e : order) {
      for (std::uint32_t k = 0; k < copies_[e]; ++k) put(e, copies_[e] > 1, k == 0);
    }
  }

 private:
  float each(std::uint32_t e) const { return weights_[e] / static_cast<float>(copies_[e]); }

  void count_copies(std::uint32_t replicas) {
    const auto experts = static_cast<std::uint32_t>(copies_.size());
    // A little less than by equal parts: the hottest experts are what ranks can even out most with.
    const auto heat = [&](std::uint32_t e) { return weights_[e] / (static_cast<float>(copies_[e]) + 0.15F); };
    const auto lighter = [&](std::uint32_t a, std::uint32_t b) {
      return heat(a) != heat(b) ? heat(a) < heat(b) : a > b;
    };
    std::vector<std::uint32_t> heap(experts);
    std::iota(heap.begin(), heap.end(), 0U);
    std::make_heap(heap.begin(), heap.end(), lighter);
    for (auto count = experts; count < replicas && !heap.empty();) {
      std::pop_heap(heap.begin(), heap.end(), lighter);
      const auto e = heap.back();
      if (copies_[e] >= ranks_.size()) {
        heap.pop_back();
        continue;
      }
      ++copies_[e];
      ++count;
      std::push_heap(heap.begin(), heap.end(), lighter);
    }
  }

  // The first copy of a split expert goes where ranks hang together already, the others where they do not.
  void put(std::uint32_t e, bool split, bool first) {
    std::uint32_t best = no_rank;
    bool best_fits = false;
    float best_cost = 0;
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      if (count_[r] >= ranks_.room[r] || holds(r, e)) continue;
      const bool fits = split && (joined_[r] != 0) == first;
      const float cost = done(r, e) + (split && first ? deep_cost_ * static_cast<float>(depth_[r]) : 0);
      if (best != no_rank && (fits != best_fits ? best_fits : !(cost < best_cost))) continue;
      best_cost = cost;
      best = r;
      best_fits = fits;
    }
    if (best == no_rank) return;
    slots_[begin_[best] + count_[best]++] = static_cast<std::int32_t>(e);
    load_[best] += each(e);
    if (!split) return;
    if (first) hangs_at_ = depth_[best];
    if (joined_[best] == 0 && !first) depth_[best] = hangs_at_ + 1;
    joined_[best] = 1;
  }
  float done(std::uint32_t r, std::uint32_t e) const { return (load_[r] + each(e)) / ranks_.speed[r]; }
  bool holds(std::uint32_t r, std::uint32_t e) const {
    const auto* at = slots_ + begin_[r];
    return std::find(at, at + count_[r], static_cast<std::int32_t>(e)) != at + count_[r];
  }

  const float* weights_;
  const rank_table& ranks_;
  std::int32_t* slots_;
  std::vector<std::uint32_t> copies_;
  std::vector<float> load_;
  std::vector<std::uint32_t> count_;
  std::vector<std::uint8_t> joined_;  // with the first rank that holds a split expert
  std::vector<std::uint32_t> begin_;
  std::vector<std::uint32_t> depth_;  // experts between it and the hottest one
  std::uint32_t hangs_at_ = 0;        // depth of the rank that the expert in hand hangs at
  float deep_cost_ = 0;
};

}  // namespace

void pack_joined(const float* weights, std::uint32_t experts, std::uint32_t replicas, const rank_table& ranks,
                 std::int32_t* slots) {
  joined_packer(weights, experts, ranks, slots).run(replicas);
}

}  // namespace ballast::policies
