// Exchanges of two replicas, one of them on a given rank, and the best of them. Private to policies/.
#pragma once

#include <algorithm>

#include "policies/dense_ops_impl.hpp"
#include "policies/dense_search.hpp"

namespace ballast::policies {

// Gain of moving a load d from rank a to rank b: zero at d = 0, the same at equal distances from where both are equal.
// A parabola through both zeros and the top follows it closely, and makes the loop over pairs of replicas a product of
// matrices. The best pair of each b is then weighed exactly.
template <std::uint32_t width, std::uint32_t row_width, std::uint32_t power>
struct exchange_scan {
  using ops_t = dense_ops<row_width, power>;
  using row_floats = typename vec<row_width>::type;  // snapshots side by side; `floats` are lanes side by side
  using floats = typename vec<width>::type;
  using ints = typename vec<width>::mask;
  static constexpr std::uint32_t group_max = 5;  // replicas of a that share the loads of b's
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
    if (space.movers.empty()) return;
    gather_movers();
    bar_lanes(true);
    std::uint32_t top = a;
    for (std::uint32_t b = 0; b < d.ranks; ++b) {
      if (b != a && (top == a || space.bound[b] > space.bound[top])) top = b;
    }
    for (std::uint32_t n = 0; n <= d.ranks; ++n) {  // the most promising rank first, so that others can be left out
      const auto b = n == 0 ? top : n - 1;
      if (b == a || (n > 0 && b == top)) continue;
      if (n == 0 || space.bound[b] > std::max(best.score, limits.write_price[b])) look_at(b, best);
    }
    bar_lanes(false);
  }

  // The most that any exchange between a and each other rank can gain; kept for run().
  BALLAST_INLINE float bounds(std::uint32_t rank) {
    auto& d = ops.d;
    float most = 0;
    for (std::uint32_t b = 0; b < d.ranks; ++b) {
      row_sums<row_width> sums;
      for (std::uint32_t s = 0; s < ops.row_end(); s += row_width) {
        row_floats x, y;
        load<row_width>(x, ops.load_of(rank) + s);
        load<row_width>(y, ops.load_of(b) + s);
        row_floats mean = (x + y) * 0.5F, half = (x - y) * 0.5F, bend;
        curvature(bend, mean, half);
        sums.add(s, bend * half * half);
      }
      const float uneven = d.pace[rank] == d.pace[b] ? 1.0F : 2.0F;
      space.bound[b] = b == rank ? 0 : sums.total() * scale * uneven;
      most = std::max(most, space.bound[b]);
    }
    return most;
  }

 private:
  // (m + h)^p + (m - h)^p - 2 m^p over h^2.
  BALLAST_INLINE static void curvature(row_floats& out, const row_floats& mean, const row_floats& half) {
    const row_floats m = mean * mean, h = half * half;
    if constexpr (power == 8) {
      out = (((m * 28.0F + h * 70.0F) * m + h * h * 28.0F) * m + h * h * h) * 2.0F;
    } else {
      const row_floats h2 = h * h, h3 = h2 * h, h4 = h2 * h2;
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
      for (std::uint32_t s = 0; s < ops.row_end(); s += row_width) {
        row_floats x;
        load<row_width>(x, one + s);
        x *= 2.0F;
        store<row_width>(&space.twice[k * d.row + s], x);
      }
    }
  }

  // Lanes whose expert a holds may not come to it; what a held at the start costs nothing to bring back.
  void bar_lanes(bool on) {
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
  void mark(std::uint32_t expert, float price) {
    const auto* at = ops.d.lanes_of(expert);
    for (std::uint32_t k = 0; k < ops.d.copies[expert]; ++k) ops.d.barred[at[k]] = price;
  }

  // The curve between a and b: gain = slope d - curve d^2, by snapshot; and what of it depends on a's replica alone.
  BALLAST_INLINE void shape(std::uint32_t b) {
    auto& d = ops.d;
    const float pace = (d.pace[a] + d.pace[b]) * 0.5F;
    for (std::uint32_t s = 0; s < ops.row_end(); s += row_width) {
      row_floats x, y;
      load<row_width>(x, ops.load_of(a) + s);
      load<row_width>(y, ops.load_of(b) + s);
      const row_floats mean = (x + y) * 0.5F, half = (x - y) * 0.5F;
      row_floats bend;
      curvature(bend, mean, half);
      bend *= scale;
      const row_floats slope = bend * half * (2.0F * pace);
      bend *= pace * pace;
      store<row_width>(&space.curve[s], bend);
      store<row_width>(&space.slope[s], slope);
    }
    for (std::uint32_t k = 0; k < space.movers.size(); ++k) {
      row_sums<row_width> rise;
      for (std::uint32_t s = 0; s < ops.row_end(); s += row_width) {
        row_floats twice, bend, slope;
        load<row_width>(twice, &space.twice[k * d.row + s]);
        load<row_width>(bend, &space.curve[s]);
        load<row_width>(slope, &space.slope[s]);
        rise.add(s, twice * 0.5F * (slope - bend * twice * 0.5F));
      }
      space.rise[k] = rise.total() - price_to(b, space.movers[k]);
    }
  }

  float price_to(std::uint32_t b, std::uint32_t mover) const {
    const auto& d = ops.d;
    const auto expert = d.expert_at[mover];
    if (d.holds(expert, b)) return never;
    if (d.table.node[b] != d.table.node[a] && d.bound_to_home(expert, d.table.node[a])) return never;
    return (d.held_at_start(expert, b) ? 0 : limits.write_price[b]) - d.written[mover] * limits.write_price[a];
  }

  struct leaders {  // the best pair so far, lane by lane
    floats score{};
    ints mover{}, lane{};
  };

  // The pairs of `count` replicas of a with those in some lanes of b.
  template <std::uint32_t count>
  BALLAST_INLINE void pair_up(std::uint32_t k, std::uint32_t lane, const floats& cost, leaders& lead) const {
    const auto& d = ops.d;
    const float* theirs = &d.lane_each[lane];
    const float* ours = &space.twice[k * d.row];
    floats base = -cost, sum[count] = {};
    for (std::uint32_t s = 0; s < d.snapshots; ++s) {
      floats one;
      load<width>(one, theirs + s * d.lanes);
      const floats bent = one * space.curve[s];
      base -= one * (bent + space.slope[s]);
      for (std::uint32_t g = 0; g < count; ++g) sum[g] += bent * ours[g * d.row + s];
    }
    for (std::uint32_t g = 0; g < count; ++g) {
      const floats score = base + sum[g] + space.rise[k + g];
      const ints better = score > lead.score;
      lead.score = better ? score : lead.score;
      lead.mover = better ? ints{} + static_cast<std::int32_t>(k + g) : lead.mover;
      lead.lane = better ? ints{} + static_cast<std::int32_t>(lane) : lead.lane;
    }
  }
  BALLAST_INLINE void pair_up_all(std::uint32_t lane, const floats& cost, leaders& lead) const {
    const auto movers = static_cast<std::uint32_t>(space.movers.size());
    const auto groups = (movers + group_max - 1) / group_max;
    for (std::uint32_t g = 0; g < groups; ++g) {
      const auto k = movers * g / groups;
      switch (movers * (g + 1) / groups - k) {
        case 5:
          pair_up<5>(k, lane, cost, lead);
          break;
        case 4:
          pair_up<4>(k, lane, cost, lead);
          break;
        case 3:
          pair_up<3>(k, lane, cost, lead);
          break;
        case 2:
          pair_up<2>(k, lane, cost, lead);
          break;
        default:
          pair_up<1>(k, lane, cost, lead);
          break;
      }
    }
  }

  BALLAST_INLINE void look_at(std::uint32_t b, found_change& best) {
    auto& d = ops.d;
    shape(b);
    leaders lead;
    lead.score += best.score;
    const auto end = d.first[b] + d.table.room[b];
    for (auto lane = d.first[b]; lane < end; lane += width) {
      floats cost, used, written;
      load<width>(cost, &d.barred[lane]);
      load<width>(used, &d.in_use[lane]);
      load<width>(written, &d.written[lane]);
      cost += used * limits.write_price[a] - written * limits.write_price[b];
      if (d.table.node[a] != d.table.node[b]) bar_home(b, lane, cost);
      pair_up_all(lane, cost, lead);
    }
    std::uint32_t top = 0;
    const auto lane_at = [&](std::uint32_t l) { return static_cast<std::uint32_t>(lead.lane[l]) + l; };
    for (std::uint32_t l = 1; l < width; ++l) {
      if (lead.score[l] > lead.score[top] || (lead.score[l] == lead.score[top] && lane_at(l) < lane_at(top))) top = l;
    }
    if (lead.score[top] > best.score)
      weigh(space.movers[static_cast<std::uint32_t>(lead.mover[top])], lane_at(top), best);
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

}  // namespace ballast::policies
