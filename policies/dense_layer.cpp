#include "policies/dense_layer.hpp"

#include <algorithm>

#include "policies/lanes_impl.hpp"

namespace ballast::policies {

namespace {
constexpr float never = 1e30F;
}

dense_layer::dense_layer(const rank_table& ranks_of, std::uint32_t expert_count, std::uint32_t snapshot_count)
    : table(ranks_of),
      experts(expert_count),
      ranks(ranks_of.size()),
      snapshots(snapshot_count),
      row(padded(snapshot_count)),
      words((ranks + 63) / 64) {
  for (std::uint32_t r = 0; r < ranks; ++r) {
    first.push_back(lanes);
    lanes += padded(table.room[r]);
    rank_at.resize(lanes, r);
    pace.push_back(1.0F / table.speed[r]);
  }
  first.push_back(lanes);
  expert_at.resize(lanes);
  start_at.resize(lanes);
  copies.resize(experts + 1);
  home.resize(experts + 1, no_node);
  home_copies.resize(experts + 1);
  weight.resize((experts + 1) * row);
  each.resize((experts + 1) * row);
  load.resize(ranks * row);
  pressure.resize(ranks);
  lane_each.resize(snapshots * lanes);
  in_use.resize(lanes);
  written.resize(lanes);
  barred.resize(lanes);
  held_.resize((experts + 1) * words);
  held_at_start_.resize(held_.size());
  holders_.resize((experts + 1) * ranks);
}

void dense_layer::start(const std::int32_t* slots) {
  std::fill(copies.begin(), copies.end(), 0U);
  std::fill(home_copies.begin(), home_copies.end(), 0U);
  std::fill(held_.begin(), held_.end(), 0U);
  std::fill(expert_at.begin(), expert_at.end(), experts);
  std::fill(in_use.begin(), in_use.end(), 0.0F);
  std::fill(written.begin(), written.end(), 0.0F);
  std::fill(barred.begin(), barred.end(), never);
  std::fill(lane_each.begin(), lane_each.end(), 0.0F);
  std::fill(held_at_start_.begin(), held_at_start_.end(), ~std::uint64_t{0});
  replicas = 0;
  for (std::uint32_t r = 0; r < ranks; ++r) {
    for (std::uint32_t lane = first[r]; lane < first[r] + table.room[r]; ++lane, ++slots) {
      barred[lane] = 0;
      if (*slots >= 0) occupy(lane, static_cast<std::uint32_t>(*slots));
    }
  }
  held_at_start_ = held_;
  start_at = expert_at;
}

void dense_layer::read(std::int32_t* slots) const {
  for (std::uint32_t r = 0; r < ranks; ++r) {
    for (std::uint32_t lane = first[r]; lane < first[r] + table.room[r]; ++lane)
      *slots++ = is_empty(lane) ? -1 : static_cast<std::int32_t>(expert_at[lane]);
  }
}

void dense_layer::vacate(std::uint32_t lane) {
  const auto expert = expert_at[lane], rank = rank_at[lane];
  if (expert == experts) return;
  auto* at = &holders_[expert * ranks];
  std::uint32_t k = 0;
  while (at[k] != lane) ++k;
  for (--copies[expert]; k < copies[expert]; ++k) at[k] = at[k + 1];
  held_[expert * words + rank / 64] &= ~(std::uint64_t{1} << (rank % 64));
  home_copies[expert] -= table.node[rank] == home[expert];
  expert_at[lane] = experts;
  in_use[lane] = written[lane] = 0;
  --replicas;
}

void dense_layer::occupy(std::uint32_t lane, std::uint32_t expert) {
  const auto rank = rank_at[lane];
  auto* at = &holders_[expert * ranks];
  std::uint32_t k = copies[expert]++;
  for (; k > 0 && at[k - 1] > lane; --k) at[k] = at[k - 1];
  at[k] = lane;
  held_[expert * words + rank / 64] |= std::uint64_t{1} << (rank % 64);
  home_copies[expert] += table.node[rank] == home[expert];
  expert_at[lane] = expert;
  in_use[lane] = 1;
  written[lane] = held_at_start(expert, rank) ? 0.0F : 1.0F;
  ++replicas;
}

}  // namespace ballast::policies
