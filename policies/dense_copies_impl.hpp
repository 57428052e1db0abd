// Copies of experts in place of redundant ones, for the good of a given rank, and the best of them. Private to
// policies/.
#pragma once

#include <algorithm>

#include "policies/dense_ops_impl.hpp"
#include "policies/dense_search.hpp"

namespace ballast::policies {

// A further copy of an expert of a hot rank in place of a redundant one, or in an empty slot. What one more or one less
// copy does to the ranks that hold an expert is remembered until one of them changes.
template <std::uint32_t width, std::uint32_t power>
struct copy_scan {
  dense_ops<width, power> ops;
  const search_limits& limits;
  search_space& space;
  float scale;
  float price_max = 0;

  // Which lanes may take a copy; what their ranks and other ranks lose with what is there.
  BALLAST_INLINE void prepare() {
    auto& d = ops.d;
    space.redundant.clear();
    for (std::uint32_t e = 0; e < d.experts; ++e) {
      if (d.copies[e] < 2) continue;
      if (space.loss_known[e] == 0) lose_one(e);
      const auto* at = d.lanes_of(e);
      for (std::uint32_t k = 0; k < d.copies[e]; ++k) {
        if (!d.bound_to_home(e, d.table.node[d.rank_at[at[k]]])) space.redundant.push_back(at[k]);
      }
    }
    if (d.replicas < limits.replicas_max) list_empty_slots();
  }

  BALLAST_INLINE void run(std::uint32_t a, found_change& best) {
    price_max = *std::max_element(limits.write_price.begin(), limits.write_price.end());
    list_offers(a);
    for (const auto& [expert, to_a] : space.offers) {
      if (space.gain_known[expert] == 0) gain_one(expert);
      const float gain = space.gain[expert];
      const auto& lanes = to_a ? space.here : space.elsewhere;
      for (const auto& [lane, loss] : lanes) {
        if ((gain - loss) * scale + price_max > best.score) weigh(expert, lane, best);
      }
    }
  }

 private:
  static constexpr std::uint32_t sources_max = 3;

  void list_empty_slots() {  // one a rank
    auto& d = ops.d;
    for (std::uint32_t r = 0; r < d.ranks; ++r) {
      for (auto lane = d.first[r]; lane < d.first[r] + d.table.room[r]; ++lane) {
        if (!d.is_empty(lane)) continue;
        space.redundant.push_back(lane);
        space.net_loss[lane] = 0;
        space.pressure_left[lane] = d.pressure[r];
        break;
      }
    }
  }

  // a's experts to other ranks; those of the hottest other ranks to a, if it has a lane for them.
  void list_offers(std::uint32_t a) {
    auto& d = ops.d;
    space.offers.clear();
    offer(a, false);
    space.here.clear();
    space.elsewhere.clear();
    for (const auto lane : space.redundant) {
      auto& list = d.rank_at[lane] == a ? space.here : space.elsewhere;
      list.emplace_back(lane, space.net_loss[lane]);
    }
    if (space.here.empty()) return;
    std::uint32_t sources[sources_max] = {};
    for (std::uint32_t n = 0; n < std::min(sources_max, d.ranks - 1); ++n) {
      std::uint32_t top = d.ranks;
      for (std::uint32_t r = 0; r < d.ranks; ++r) {
        if (r == a || std::find(sources, sources + n, r) != sources + n) continue;
        if (top == d.ranks || d.pressure[r] > d.pressure[top]) top = r;
      }
      sources[n] = top;
      offer(top, true);
    }
  }
  void offer(std::uint32_t rank, bool to_a) {
    auto& d = ops.d;
    for (auto i = d.first[rank]; i < d.first[rank] + d.table.room[rank]; ++i) {
      if (!d.is_empty(i)) space.offers.emplace_back(d.expert_at[i], to_a);
    }
  }

  static float change_of_part(std::uint32_t copies, float more) {
    return 1 / (static_cast<float>(copies) + more) - 1 / static_cast<float>(copies);
  }

  BALLAST_INLINE void lose_one(std::uint32_t expert) {
    auto& d = ops.d;
    const auto* at = d.lanes_of(expert);
    const auto copies = d.copies[expert];
    float all = 0;
    for (std::uint32_t k = 0; k < 2 * copies; ++k) {  // first as the ones that stay, then as the one that goes
      const auto lane = at[k % copies], rank = d.rank_at[lane];
      const float change = k < copies ? change_of_part(copies, -1) : -1 / static_cast<float>(copies);
      const float then = ops.pressure_with(rank, expert, change);
      if (k < copies) {
        space.net_loss[lane] = then;
        all += then - d.pressure[rank];
      } else {
        space.pressure_left[lane] = then;
        space.net_loss[lane] = all - space.net_loss[lane] + then;
      }
    }
    space.loss_known[expert] = 1;
  }
  BALLAST_INLINE void gain_one(std::uint32_t expert) {
    auto& d = ops.d;
    const float change = change_of_part(d.copies[expert], 1);
    const auto* at = d.lanes_of(expert);
    float gain = 0;
    for (std::uint32_t k = 0; k < d.copies[expert]; ++k) {
      const auto rank = d.rank_at[at[k]];
      gain += d.pressure[rank] - ops.pressure_with(rank, expert, change);
    }
    space.gain[expert] = gain;
    space.gain_known[expert] = 1;
  }

  BALLAST_INLINE void weigh(std::uint32_t expert, std::uint32_t lane, found_change& best) {
    auto& d = ops.d;
    const auto rank = d.rank_at[lane], old = d.expert_at[lane];
    const float price =
        (d.held_at_start(expert, rank) ? 0 : limits.write_price[rank]) - d.written[lane] * limits.write_price[rank];
    float gain = space.gain[expert] - space.net_loss[lane];
    if (gain * scale - price <= best.score || old == expert || d.holds(expert, rank)) return;
    const float part = 1 / static_cast<float>(d.copies[expert] + 1);
    gain += space.pressure_left[lane] - ops.pressure_with(rank, ops.weight_of(expert), part, ops.each_of(old), -1);
    if (old != d.experts) gain -= shared_ranks(expert, old, rank);
    const float score = gain * scale - price;
    if (score > best.score) best = {found_change::copy, score, expert, lane};
  }

  // Ranks that hold both experts change in both ways at once: by how much the sum of the two changes is too good.
  BALLAST_INLINE float shared_ranks(std::uint32_t expert, std::uint32_t old, std::uint32_t rank) {
    auto& d = ops.d;
    const float less = change_of_part(d.copies[expert], 1), more = change_of_part(d.copies[old], -1);
    float error = 0;
    for (std::uint32_t q = 0; q < d.words; ++q) {
      for (auto both = d.held_[expert * d.words + q] & d.held_[old * d.words + q]; both != 0; both &= both - 1) {
        const auto r = q * 64 + static_cast<std::uint32_t>(__builtin_ctzll(both));
        if (r == rank) continue;
        error += d.pressure[r];
        for (const std::uint32_t n : {0U, 1U, 2U}) {  // both, then each alone
          const float then =
              ops.pressure_with(r, ops.weight_of(expert), n == 2 ? 0 : less, ops.weight_of(old), n == 1 ? 0 : more);
          error += n == 0 ? then : -then;
        }
      }
    }
    return error;
  }
};

}  // namespace ballast::policies
