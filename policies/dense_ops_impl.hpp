// Loads of a dense_layer after a change, and what a change would make of them. Written for vectors of any width and for
// a power that measures how hot a rank is; inlined into the loops that dense_search.cpp compiles per instruction set.
// Width 1 is for a single snapshot: the rest of a row is zeros then, which change no sum.
// Private to policies/.
#pragma once

#include "policies/dense_layer.hpp"
#include "policies/lanes_impl.hpp"

namespace ballast::policies {

// The partial sums of a row, or its only number.
template <std::uint32_t width>
struct row_sums : lane_sums {
  BALLAST_INLINE void add(std::uint32_t at_snapshot, const typename vec<width>::type& value) {
    typename vec<width>::type sum;
    policies::load<width>(sum, at + at_snapshot % lane_count);
    sum += value;
    store<width>(at + at_snapshot % lane_count, sum);
  }
};
template <>
struct row_sums<1> {
  float only = 0;
  BALLAST_INLINE void add(std::uint32_t, float value) { only = value; }
  BALLAST_INLINE float total() const { return only; }
};

template <std::uint32_t width, std::uint32_t power>
struct dense_ops {
  using floats = typename vec<width>::type;
  static_assert(power == 8 || power == 16);
  dense_layer& d;

  BALLAST_INLINE static void raise(floats& x) {
    x *= x;
    x *= x;
    x *= x;
    if constexpr (power == 16) x *= x;
  }
  BALLAST_INLINE std::uint32_t row_end() const { return width == 1 ? 1 : d.row; }
  BALLAST_INLINE const float* load_of(std::uint32_t rank) const { return &d.load[rank * d.row]; }
  BALLAST_INLINE const float* weight_of(std::uint32_t expert) const { return &d.weight[expert * d.row]; }
  BALLAST_INLINE const float* each_of(std::uint32_t expert) const { return &d.each[expert * d.row]; }

  // Every replica's load, after the number of copies changed.
  BALLAST_INLINE void spread(std::uint32_t expert) {
    if (d.copies[expert] == 0) return;
    const float part = 1.0F / static_cast<float>(d.copies[expert]);
    for (std::uint32_t s = 0; s < row_end(); s += width) {
      floats w;
      policies::load<width>(w, weight_of(expert) + s);
      w *= part;
      store<width>(&d.each[expert * d.row + s], w);
    }
    const auto* at = d.lanes_of(expert);
    for (std::uint32_t k = 0; k < d.copies[expert]; ++k) show(at[k]);
  }
  BALLAST_INLINE void show(std::uint32_t lane) {
    const float* one = each_of(d.expert_at[lane]);
    for (std::uint32_t s = 0; s < d.snapshots; ++s) d.lane_each[s * d.lanes + lane] = one[s];
  }

  // A rank's load, from its slots.
  BALLAST_INLINE void refresh(std::uint32_t rank) {
    row_sums<width> hot;
    const auto begin = d.first[rank], end = begin + d.table.room[rank];
    for (std::uint32_t s = 0; s < row_end(); s += width) {
      floats sum{};
      for (auto lane = begin; lane < end; ++lane) {
        floats one;
        policies::load<width>(one, each_of(d.expert_at[lane]) + s);
        sum += one;
      }
      sum *= d.pace[rank];
      store<width>(&d.load[rank * d.row + s], sum);
      raise(sum);
      hot.add(s, sum);
    }
    d.pressure[rank] = hot.total();
  }
  BALLAST_INLINE void refresh_all() {
    for (std::uint32_t e = 0; e < d.experts; ++e) spread(e);
    for (std::uint32_t r = 0; r < d.ranks; ++r) refresh(r);
  }

  // Pressure of a rank if `factor` times the expert's load came to it.
  BALLAST_INLINE float pressure_with(std::uint32_t rank, std::uint32_t expert, float factor) const {
    return pressure_with(rank, weight_of(expert), factor, weight_of(d.experts), 0);
  }
  BALLAST_INLINE float pressure_with(std::uint32_t rank, const float* one, float factor, const float* other,
                                     float other_factor) const {
    row_sums<width> hot;
    factor *= d.pace[rank];
    other_factor *= d.pace[rank];
    for (std::uint32_t s = 0; s < row_end(); s += width) {
      floats x, u, v;
      policies::load<width>(x, load_of(rank) + s);
      policies::load<width>(u, one + s);
      policies::load<width>(v, other + s);
      x += u * factor + v * other_factor;
      raise(x);
      hot.add(s, x);
    }
    return hot.total();
  }
};

}  // namespace ballast::policies
