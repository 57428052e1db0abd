#include "policies/dense_restarts.hpp"

#include <algorithm>
#include <numeric>

#include "policies/dense_pack.hpp"

namespace ballast::policies {

namespace {

class disturber {
 public:
  explicit disturber(const dense_layer& layer) : d_(layer) {
    for (std::uint32_t r = 0; r < d_.ranks; ++r) {
      begin_.push_back(static_cast<std::uint32_t>(rank_of_.size()));
      rank_of_.insert(rank_of_.end(), d_.table.room[r], r);
    }
    begin_.push_back(static_cast<std::uint32_t>(rank_of_.size()));
  }

  // Two to four steps: two replicas change places, or a redundant one becomes another expert.
  void disturb(std::vector<std::int32_t>& slots) {
    for (auto steps = 2 + below(3); steps > 0; --steps) {
      const auto i = below(static_cast<std::uint32_t>(slots.size()));
      if (slots[i] >= 0 && std::count(slots.begin(), slots.end(), slots[i]) > 1 && below(2) == 0) {
        const auto expert = static_cast<std::int32_t>(below(d_.experts));
        if (!on(slots, rank_of_[i], expert)) slots[i] = expert;
        continue;
      }
      const auto j = below(static_cast<std::uint32_t>(slots.size()));
      if (rank_of_[i] == rank_of_[j] || (slots[j] >= 0 && on(slots, rank_of_[i], slots[j])) ||
          (slots[i] >= 0 && on(slots, rank_of_[j], slots[i])))
        continue;
      std::swap(slots[i], slots[j]);
    }
  }

 private:
  bool on(const std::vector<std::int32_t>& slots, std::uint32_t rank, std::int32_t expert) const {
    const auto first = slots.begin() + begin_[rank], last = slots.begin() + begin_[rank + 1];
    return std::find(first, last, expert) != last;
  }
  std::uint32_t below(std::uint32_t bound) {  // the same on every host
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>((state_ >> 33) % bound);
  }

  const dense_layer& d_;
  std::vector<std::uint32_t> begin_, rank_of_;
  std::uint64_t state_ = 1;
};

float badness(const dense_layer& layer) {
  if (layer.snapshots == 1) return peak_of_first(layer);
  return std::accumulate(layer.pressure.begin(), layer.pressure.end(), 0.0F);
}

}  // namespace

std::uint32_t restarts_for(std::uint32_t slots) { return slots > 64 ? 0 : 2048 / std::max(slots, 12U); }

std::uint32_t search_again(dense_layer& layer, const search_limits& limits, search_space& space, std::uint32_t times,
                           std::vector<std::int32_t>& slots) {
  std::vector<std::int32_t> best(slots.size());
  layer.read(best.data());
  float least = badness(layer);
  disturber chance(layer);
  std::uint32_t changes = 0;
  for (; times > 0; --times) {
    slots = best;
    chance.disturb(slots);
    layer.start(slots.data());
    make_legal(layer, limits.replicas_max);
    refresh_loads(layer, limits.power);
    changes += improve(layer, limits, space);
    if (badness(layer) >= least) continue;
    least = badness(layer);
    layer.read(best.data());
  }
  slots = best;
  return changes;
}

}  // namespace ballast::policies
