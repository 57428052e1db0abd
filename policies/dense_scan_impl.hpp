// The changes that can be made at one rank, and the best of them. Private to policies/.
#pragma once

#include <algorithm>

#include "policies/dense_ops_impl.hpp"
#include "policies/dense_search.hpp"

namespace ballast::policies {

struct found_change {
  enum kind_t : std::uint8_t { none, exchange, copy } kind = none;
  float score = 0;            // gain less the price of the writes
  std::uint32_t subject = 0;  // lane (exchange) or expert (copy)
  std::uint32_t lane = 0;     // the other one, or where the copy goes
};

// Gain of moving a load d from rank a to rank b: zero at d = 0, the same at equal distances from where both are equal.
// A parabola through both zeros and the top follows it closely, and makes the loop over pairs of replicas a product of
// matrices. The best pair of each b is then weighed exactly.
template <std::uint32_t width, std::uint32_t power>
struct exchange_scan {
  using ops_t = dense_ops<width, power>;
  using floats = typename vec<width>::type;
  using ints = typename vec<width>::mask;
  static constexpr std::uint32_t group = 4;  // replicas of a that share the loads of b's
  static constexpr float never = 1e30F;

  ops_t ops;
  const search_limits& limits;
  search_space& space;
  float scale;
  std::uint32_t a = 0;

  BALLAST_INLINE void run(std::uint32_t rank, found_change& best) {
    auto& d = ops.d;
    a = rank;
    space.movers.clear();
    for (auto i = d.first[a]; i < d.first[a] + d.table.room[a]; ++i) {
      if (!d.is_empty(i)) space.movers.push_back(i);
    }
    while (space.movers.size() % group != 0 && !space.movers.empty()) space.movers.push_back(space.movers.back());
    gather_movers();
    bar_lanes(true);
    std::uint32_t top = a;
    for (std::uint32_t b = 0; b < d.ranks; ++b) {
      if (b != a && (top == a || space.bound[b] > space.bound[top])) top = b;
    }
    if (top != a) look_at(top, best);
    for (std::uint32_t b = 0; b < d.ranks; ++b) {
      if (b != a && b != top && space.bound[b] > std::max(best.score, limits.write_price[b])) look_at(b, best);
    }
    bar_lanes(false);
  }

  // The most that any exchange between a and each other rank can gain; kept for run().
  BALLAST_INLINE float bounds(std::uint32_t rank) {
    auto& d = ops.d;
    float most = 0;
    for (std::uint32_t b = 0; b < d.ranks; ++b) {
      lane_sums sums;
      for (std::uint32_t s = 0; s < d.row; s += width) {
        floats x, y;
        load<width>(x, ops.load_of(rank) + s);
        load<width>(y, ops.load_of(b) + s);
        floats mean = (x + y) * 0.5F, half = (x - y) * 0.5F, bend;
        curvature(bend, mean, half);
        ops_t::add_to(sums, s, bend * half * half);
      }
      const float uneven = d.pace[rank] == d.pace[b] ? 1.0F : 2.0F;
      space.bound[b] = b == rank ? 0 : sums.total() * scale * uneven;
      most = std::max(most, space.bound[b]);
    }
    return most;
  }

 private:
  // (m + h)^p + (m - h)^p - 2 m^p over h^2.
  BALLAST_INLINE static void curvature(floats& out, const floats& mean, const floats& half) {
    const floats m = mean * mean, h = half * half;
    if constexpr (power == 8) {
      out = (((m * 28.0F + h * 70.0F) * m + h * h * 28.0F) * m + h * h * h) * 2.0F;
    } else {
      const floats h2 = h * h, h3 = h2 * h, h4 = h2 * h2;
      out = m * 120.0F + h * 1820.0F;
      out = out * m + h2 * 8008.0F;
      out = out * m + h3 * 12870.0F;
      out = out * m + h4 * 8008.0F;
      out = out * m + h4 * h * 1820.0F;
      out = (out * m + h4 * h2 * 120.0F) * m + h4 * h3;
      out *= 2.0F;
    }
  }

  BALLAST_INLINE void gather_movers() {
    auto& d = ops.d;
    for (std::uint32_t k = 0; k < space.movers.size(); ++k) {
      const float* one = ops.each_of(d.expert_at[space.movers[k]]);
      for (std::uint32_t s = 0; s < d.row; s += width) {
        floats x;
        load<width>(x, one + s);
        x *= 2.0F;
        store<width>(&space.twice[k * d.row + s], x);
      }
    }
  }

  // Lanes whose expert a holds may not come to it; what a held at the start costs nothing to bring back.
  BALLAST_INLINE void bar_lanes(bool on) {
    auto& d = ops.d;
    for (auto i = d.first[a]; i < d.first[a] + d.table.room[a]; ++i) {
      const auto now = d.expert_at[i], then = d.start_at[i];
      if (then != d.experts) mark(then, on ? -limits.write_price[a] : 0);
      if (now != d.experts && d.copies[now] > 1 && !on) mark(now, 0);
    }
    if (!on) return;
    for (auto i = d.first[a]; i < d.first[a] + d.table.room[a]; ++i) {
      if (const auto now = d.expert_at[i]; now != d.experts && d.copies[now] > 1) mark(now, never);
    }
  }
  BALLAST_INLINE void mark(std::uint32_t expert, float price) {
    const auto* at = ops.d.lanes_of(expert);
    for (std::uint32_t k = 0; k < ops.d.copies[expert]; ++k) ops.d.barred[at[k]] = price;
  }

  // The curve between a and b: gain = slope d - curve d^2, by snapshot; and what of it depends on a's replica alone.
  BALLAST_INLINE void shape(std::uint32_t b) {
    auto& d = ops.d;
    const float pace = (d.pace[a] + d.pace[b]) * 0.5F;
    for (std::uint32_t s = 0; s < d.row; s += width) {
      floats x, y;
      load<width>(x, ops.load_of(a) + s);
      load<width>(y, ops.load_of(b) + s);
      const floats mean = (x + y) * 0.5F, half = (x - y) * 0.5F;
      floats bend;
      curvature(bend, mean, half);
      bend *= scale;
      const floats slope = bend * half * (2.0F * pace);
      bend *= pace * pace;
      store<width>(&space.curve[s], bend);
      store<width>(&space.slope[s], slope);
      for (std::uint32_t k = 0; k < space.movers.size(); ++k) {
        floats twice;
        load<width>(twice, &space.twice[k * d.row + s]);
        store<width>(&space.rise[k * d.row + s], twice * 0.5F * (slope - bend * twice * 0.5F));
      }
    }
  }

  BALLAST_INLINE float price_to(std::uint32_t b, std::uint32_t mover) const {
    const auto& d = ops.d;
    const auto expert = d.expert_at[mover];
    if (d.holds(expert, b)) return never;
    if (d.table.node[b] != d.table.node[a] && d.bound_to_home(expert, d.table.node[a])) return never;
    return (d.held_at_start(expert, b) ? 0 : limits.write_price[b]) - d.written[mover] * limits.write_price[a];
  }

  BALLAST_INLINE void look_at(std::uint32_t b, found_change& best) {
    auto& d = ops.d;
    shape(b);
    floats lead{};
    lead += best.score;
    ints lead_mover{}, lead_lane{}, lane_numbers{};
    for (std::uint32_t l = 0; l < width; ++l) lane_numbers[l] = static_cast<std::int32_t>(l);
    for (std::uint32_t k = 0; k < space.movers.size(); ++k) space.fix[k] = price_to(b, space.movers[k]);
    const auto end = d.first[b] + d.table.room[b];
    for (auto lane = d.first[b]; lane < end; lane += width) {
      floats cost, used, written;
      load<width>(cost, &d.barred[lane]);
      load<width>(used, &d.in_use[lane]);
      load<width>(written, &d.written[lane]);
      cost += used * limits.write_price[a] - written * limits.write_price[b];
      if (d.table.node[a] != d.table.node[b]) bar_home(b, lane, cost);
      for (std::uint32_t k = 0; k < space.movers.size(); k += group) {
        floats base = -cost, sum[group] = {};
        for (std::uint32_t s = 0; s < d.snapshots; ++s) {
          floats one;
          load<width>(one, &d.lane_each[s * d.lanes + lane]);
          const floats bent = one * space.curve[s];
          base -= one * (bent + space.slope[s]);
          for (std::uint32_t g = 0; g < group; ++g)
            sum[g] += bent * space.twice[(k + g) * d.row + s] + space.rise[(k + g) * d.row + s];
        }
        for (std::uint32_t g = 0; g < group; ++g) {
          const floats score = base + sum[g] - space.fix[k + g];
          const ints better = score > lead;
          lead = better ? score : lead;
          lead_mover = better ? ints{} + static_cast<std::int32_t>(k + g) : lead_mover;
          lead_lane = better ? lane_numbers + static_cast<std::int32_t>(lane) : lead_lane;
        }
      }
    }
    std::uint32_t top = 0;
    for (std::uint32_t l = 1; l < width; ++l) {
      if (lead[l] > lead[top] || (lead[l] == lead[top] && lead_lane[l] < lead_lane[top])) top = l;
    }
    if (lead[top] > best.score)
      weigh(space.movers[static_cast<std::uint32_t>(lead_mover[top])], static_cast<std::uint32_t>(lead_lane[top]),
            best);
  }

  BALLAST_INLINE void bar_home(std::uint32_t b, std::uint32_t lane, floats& cost) const {
    const auto& d = ops.d;
    for (std::uint32_t l = 0; l < width; ++l) {
      if (lane + l < d.first[b] + d.table.room[b] && d.bound_to_home(d.expert_at[lane + l], d.table.node[b]))
        cost[l] = never;
    }
  }

  BALLAST_INLINE void weigh(std::uint32_t i, std::uint32_t j, found_change& best) {
    const auto& d = ops.d;
    const auto b = d.rank_at[j];
    const float *ours = ops.each_of(d.expert_at[i]), *theirs = ops.each_of(d.expert_at[j]);
    const float after = ops.pressure_with(a, ours, -1, theirs, 1) + ops.pressure_with(b, ours, 1, theirs, -1);
    const float price =
        price_to(b, i) + d.barred[j] + d.in_use[j] * limits.write_price[a] - d.written[j] * limits.write_price[b];
    const float score = (d.pressure[a] + d.pressure[b] - after) * scale - price;
    if (score > best.score) best = {found_change::exchange, score, i, j};
  }
};

// A further copy of an expert of a hot rank in place of a redundant one, or in an empty slot.
template <std::uint32_t width, std::uint32_t power>
struct copy_scan {
  dense_ops<width, power> ops;
  const search_limits& limits;
  search_space& space;
  float scale;

  // Which lanes may take one, and what it costs the others that their expert leaves it.
  BALLAST_INLINE void prepare() {
    auto& d = ops.d;
    space.redundant.clear();
    for (std::uint32_t r = 0; r < d.ranks; ++r) {
      bool empty_seen = d.replicas >= limits.replicas_max;
      for (auto lane = d.first[r]; lane < d.first[r] + d.table.room[r]; ++lane) {
        const auto expert = d.expert_at[lane];
        if (expert == d.experts) {
          if (!empty_seen) space.redundant.push_back(lane), space.net_loss[lane] = 0;
          empty_seen = true;
        } else if (d.copies[expert] > 1 && !d.bound_to_home(expert, d.table.node[r])) {
          space.redundant.push_back(lane);
          space.net_loss[lane] = loss_without(lane, expert);
        }
      }
    }
  }

  BALLAST_INLINE void run(std::uint32_t a, found_change& best) {
    auto& d = ops.d;
    for (auto i = d.first[a]; i < d.first[a] + d.table.room[a]; ++i) {
      const auto expert = d.expert_at[i];
      if (expert == d.experts) continue;
      const float gain = gain_of_one_more(expert);
      for (const auto lane : space.redundant) {
        if (d.rank_at[lane] != a) weigh(expert, gain, lane, best);
      }
    }
    here(a);
    if (space.movers.empty()) return;
    hottest_others(a);
    for (const auto r : space.sources) {
      for (auto i = d.first[r]; i < d.first[r] + d.table.room[r]; ++i) {
        if (d.is_empty(i)) continue;
        const float gain = gain_of_one_more(d.expert_at[i]);
        for (const auto lane : space.movers) weigh(d.expert_at[i], gain, lane, best);
      }
    }
  }

 private:
  static constexpr std::uint32_t sources_max = 3;

  BALLAST_INLINE void here(std::uint32_t a) {  // redundant lanes of a
    space.movers.clear();
    for (const auto lane : space.redundant) {
      if (ops.d.rank_at[lane] == a) space.movers.push_back(lane);
    }
  }

  BALLAST_INLINE void hottest_others(std::uint32_t a) {
    auto& d = ops.d;
    space.sources.clear();
    while (space.sources.size() < std::min(sources_max, d.ranks - 1)) {
      std::uint32_t top = d.ranks;
      for (std::uint32_t r = 0; r < d.ranks; ++r) {
        if (r == a || std::find(space.sources.begin(), space.sources.end(), r) != space.sources.end()) continue;
        if (top == d.ranks || d.pressure[r] > d.pressure[top]) top = r;
      }
      space.sources.push_back(top);
    }
  }

  BALLAST_INLINE static float change_of_part(float copies, float more) { return 1 / (copies + more) - 1 / copies; }

  BALLAST_INLINE float loss_without(std::uint32_t lane, std::uint32_t expert) {
    auto& d = ops.d;
    const auto copies = static_cast<float>(d.copies[expert]);
    const auto* at = d.lanes_of(expert);
    float loss = 0;
    for (std::uint32_t k = 0; k < d.copies[expert]; ++k) {
      const auto rank = d.rank_at[at[k]];
      const float change = at[k] == lane ? -1 / copies : change_of_part(copies, -1);
      loss += ops.pressure_with(rank, expert, change) - d.pressure[rank];
    }
    return loss;
  }
  BALLAST_INLINE float gain_of_one_more(std::uint32_t expert) {
    auto& d = ops.d;
    const float change = change_of_part(static_cast<float>(d.copies[expert]), 1);
    const auto* at = d.lanes_of(expert);
    float gain = 0;
    for (std::uint32_t k = 0; k < d.copies[expert]; ++k) {
      const auto rank = d.rank_at[at[k]];
      gain += d.pressure[rank] - ops.pressure_with(rank, expert, change);
    }
    return gain;
  }

  BALLAST_INLINE void weigh(std::uint32_t expert, float gain, std::uint32_t lane, found_change& best) {
    auto& d = ops.d;
    const auto rank = d.rank_at[lane], old = d.expert_at[lane];
    const float price =
        (d.held_at_start(expert, rank) ? 0 : limits.write_price[rank]) - d.written[lane] * limits.write_price[rank];
    if ((gain - space.net_loss[lane]) * scale - price <= best.score) return;  // as if the new copy had no load
    if (old == expert || d.holds(expert, rank)) return;
    const float part = 1 / static_cast<float>(d.copies[expert] + 1);
    const float *one = ops.weight_of(expert), *other = ops.each_of(old);
    const float old_gone = old == d.experts ? d.pressure[rank] : ops.pressure_with(rank, other, -1, other, 0);
    gain += old_gone - ops.pressure_with(rank, one, part, other, -1) - space.net_loss[lane];
    gain -= shared_ranks(expert, old, rank);
    const float score = gain * scale - price;
    if (score > best.score) best = {found_change::copy, score, expert, lane};
  }

  // Ranks that hold both experts change in both ways at once: by how much the sum of the two changes is too good.
  BALLAST_INLINE float shared_ranks(std::uint32_t expert, std::uint32_t old, std::uint32_t rank) {
    auto& d = ops.d;
    if (old == d.experts) return 0;
    float error = 0;
    const float less = change_of_part(static_cast<float>(d.copies[expert]), 1),
                more = change_of_part(static_cast<float>(d.copies[old]), -1);
    for (std::uint32_t q = 0; q < d.words; ++q) {
      for (auto both = d.held_[expert * d.words + q] & d.held_[old * d.words + q]; both != 0; both &= both - 1) {
        const auto r = q * 64 + static_cast<std::uint32_t>(__builtin_ctzll(both));
        if (r == rank) continue;
        const float apart = ops.pressure_with(r, expert, less) + ops.pressure_with(r, old, more) - d.pressure[r];
        error += ops.pressure_with(r, ops.weight_of(expert), less, ops.weight_of(old), more) - apart;
      }
    }
    return error;
  }
};

}  // namespace ballast::policies
