#include "tests/policies/placement_bound.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>

namespace ballast::policies {

namespace {

constexpr int steps_max = 200, steps_in_vain = 8;
constexpr double first_reach = 0.05, last_reach = 5e-4;

double capacity(const plan_shape& shape) {
  return std::accumulate(shape.ranks.begin(), shape.ranks.end(), 0.0,
                         [](double s, const auto& r) { return s + r.speed; });
}

// The nearest point whose numbers are >= 0 and sum to 1.
void onto_simplex(std::vector<double>& point) {
  auto sorted = point;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double sum = 0, shift = 0;
  for (std::size_t k = 0; k < sorted.size(); ++k) {
    sum += sorted[k];
    const double s = (sum - 1) / static_cast<double>(k + 1);
    if (sorted[k] > s) shift = s;
  }
  for (auto& x : point) x = std::max(0.0, x - shift);
}

}  // namespace

double bound_of_copies(const plan_shape& shape, const double* load) {
  const double total = std::accumulate(load, load + shape.experts, 0.0);
  if (!(total > 0)) return 1;
  double fastest = 0;
  for (const auto& r : shape.ranks) fastest = std::max(fastest, r.speed);
  std::priority_queue<std::pair<double, std::uint32_t>> heaviest;
  for (std::uint32_t e = 0; e < shape.experts; ++e) heaviest.emplace(load[e], 1U);
  auto spare = std::min<std::uint64_t>(shape.redundant, shape.slots() - shape.experts);
  for (; spare > 0 && heaviest.top().second < shape.ranks.size(); --spare) {
    const auto [each, copies] = heaviest.top();
    heaviest.pop();
    heaviest.emplace(each * copies / (copies + 1), copies + 1);
  }
  return std::max(1.0, heaviest.top().first / fastest * capacity(shape) / total);
}

priced_bound::priced_bound(const plan_shape& shape, splits_t splits)
    : shape_(shape),
      splits_(splits),
      load_(shape.ranks.size()),
      count_(shape.ranks.size()),
      fixed_(shape.ranks.size()),
      cost_(shape.ranks.size()),
      order_(shape.ranks.size()) {
  std::iota(order_.begin(), order_.end(), 0U);
}

double priced_bound::of(const std::int32_t* held, const double* load, double price) {
  const auto ranks = shape_.ranks.size();
  const double total = std::accumulate(load, load + shape_.experts, 0.0), speeds = capacity(shape_);
  if (!(total > 0)) return 1;
  write_price_ = price;
  weight_.assign(load, load + shape_.experts);
  for (auto& w : weight_) w *= speeds / total;
  held_.assign(shape_.experts * ranks, 0);
  copies_held_.assign(shape_.experts, 0);
  load_price_.resize(ranks);
  slot_price_.assign(ranks, 0);
  for (std::size_t r = 0; r < ranks; ++r) {
    load_price_[r] = shape_.ranks[r].speed / speeds;
    for (std::uint32_t k = 0; k < shape_.ranks[r].slots; ++k, ++held) {
      if (*held < 0) continue;
      held_[static_cast<std::size_t>(*held) * ranks + r] = 1;
      ++copies_held_[static_cast<std::size_t>(*held)];
    }
  }
  double best = -std::numeric_limits<double>::infinity(), reach = first_reach;
  auto best_load = load_price_, best_slot = slot_price_;
  int in_vain = 0;
  for (int n = 0; n < steps_max && reach > last_reach; ++n) {
    const double now = value();
    if (now > best + 1e-6) {
      best = now;
      best_load = load_price_;
      best_slot = slot_price_;
      in_vain = 0;
    } else if (++in_vain == steps_in_vain) {
      reach /= 2;
      in_vain = 0;
      load_price_ = best_load;
      slot_price_ = best_slot;
      value();
    }
    climb(best + reach - now);
  }
  return best;
}

double priced_bound::value() {
  std::fill(load_.begin(), load_.end(), 0.0);
  std::fill(count_.begin(), count_.end(), 0.0);
  double sum = 0;
  for (std::uint32_t e = 0; e < shape_.experts; ++e) sum += best_copies(e);
  for (std::size_t r = 0; r < slot_price_.size(); ++r) sum -= slot_price_[r] * shape_.ranks[r].slots;
  return sum;
}

double priced_bound::best_copies(std::uint32_t expert) {
  const auto ranks = shape_.ranks.size();
  const auto* held = &held_[expert * ranks];
  for (std::size_t r = 0; r < ranks; ++r) fixed_[r] = slot_price_[r] + (held[r] != 0 ? 0 : write_price_);
  if (splits_ == splits_t::even) return best_set(expert);
  // All tokens to the cheapest rank: a second copy there is for nothing, as far as prices go.
  std::size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t r = 0; r < ranks; ++r) {
    const double cost = weight_[expert] * load_price_[r] / shape_.ranks[r].speed + fixed_[r];
    if (cost < least) best = r, least = cost;
  }
  load_[best] += weight_[expert] / shape_.ranks[best].speed;
  count_[best] += 1;
  return least;
}

// With c copies the cheapest c ranks; c goes on until the writes alone cost more than has been found.
double priced_bound::best_set(std::uint32_t expert) {
  const auto ranks = static_cast<std::uint32_t>(shape_.ranks.size());
  const double w = weight_[expert];
  double least = std::numeric_limits<double>::infinity(), cheapest = least;
  for (std::uint32_t r = 0; r < ranks; ++r) cheapest = std::min(cheapest, load_price_[r] / shape_.ranks[r].speed);
  for (std::uint32_t c = 1; c <= ranks; ++c) {
    const double writes = c > copies_held_[expert] ? write_price_ * (c - copies_held_[expert]) : 0;
    if (w * cheapest + writes >= least) break;
    for (std::uint32_t r = 0; r < ranks; ++r) cost_[r] = w * load_price_[r] / shape_.ranks[r].speed / c + fixed_[r];
    const auto dearer = [&](std::uint32_t a, std::uint32_t b) {
      return cost_[a] != cost_[b] ? cost_[a] < cost_[b] : a < b;
    };
    std::nth_element(order_.begin(), order_.begin() + (c - 1), order_.end(), dearer);
    double sum = 0;
    for (std::uint32_t k = 0; k < c; ++k) sum += cost_[order_[k]];
    if (sum >= least) continue;
    least = sum;
    chosen_.assign(order_.begin(), order_.begin() + c);
  }
  for (const auto r : chosen_) {
    load_[r] += w / shape_.ranks[r].speed / static_cast<double>(chosen_.size());
    count_[r] += 1;
  }
  return least;
}

// A step along the slope, as long as it would take to rise by `step` if the slope stayed. Slots are counted in parts of
// what a rank has, so that one is worth about as much as the other.
void priced_bound::climb(double step) {
  const auto ranks = shape_.ranks.size();
  const double mean = std::accumulate(load_.begin(), load_.end(), 0.0) / static_cast<double>(ranks);
  double length = 1e-12;
  for (std::size_t r = 0; r < ranks; ++r) {
    const double room = std::max(1U, shape_.ranks[r].slots), over = (count_[r] - room) / room;
    length += (load_[r] - mean) * (load_[r] - mean);
    if (over > 0 || slot_price_[r] > 0) length += over * over;
  }
  for (std::size_t r = 0; r < ranks; ++r) {
    const double room = std::max(1U, shape_.ranks[r].slots), over = (count_[r] - room) / room;
    load_price_[r] += step / length * (load_[r] - mean);
    slot_price_[r] = std::max(0.0, slot_price_[r] + step / length * over / room);
  }
  onto_simplex(load_price_);
}

}  // namespace ballast::policies
