#include "policies/plan_loads.hpp"

#include <algorithm>
#include <cmath>

namespace ballast::policies {

snapshot_recipe::snapshot_recipe(const recent_loads& loads, const snapshot_weights& weights, std::uint32_t experts)
    : experts_(experts) {
  const bool alone = loads.parts.empty() && loads.intervals.empty();
  add({{&loads.last, 1.0F}}, alone || loads.parts.empty() ? 1.0 : weights.last);
  if (!loads.parts.empty() && weights.now > 0) {
    std::vector<term> now;
    float factor = 1;
    for (std::size_t k = loads.parts.size(); k-- > 0 && factor > 1e-4F; factor *= static_cast<float>(weights.fading))
      now.push_back({&loads.parts[k], factor});
    add(std::move(now), weights.now);
  }
  const auto groups = std::min<std::size_t>(loads.parts.size(), weights.parts_max);
  for (std::size_t g = 0; g < groups && weights.part > 0; ++g) {
    std::vector<term> part;
    for (auto k = g * loads.parts.size() / groups; k < (g + 1) * loads.parts.size() / groups; ++k)
      part.push_back({&loads.parts[k], 1.0F});
    add(std::move(part), weights.part);
  }
  const auto earlier = std::min<std::size_t>(loads.intervals.size(), weights.intervals_max);
  for (std::size_t k = loads.intervals.size() - earlier; k < loads.intervals.size() && weights.interval > 0; ++k)
    add({{&loads.intervals[k], 1.0F}}, weights.interval);
}

void snapshot_recipe::add(std::vector<term> terms, double weight) {
  weight = std::max(weight, 1e-3);
  weight_sum_ += weight;
  parts_.push_back({std::move(terms), weight});
}

double snapshot_recipe::first_root(std::uint32_t power) const {
  return std::pow(parts_[0].weight / weight_sum_, 1.0 / power);
}

double snapshot_recipe::largest(const snapshot& of, std::uint32_t layer) const {
  double most = 0;
  for (const auto& t : of.terms) {
    if (t.rows->rows.empty()) continue;
    for (std::uint32_t e = 0; e < experts_; ++e) most = std::max(most, t.rows->rows[layer][e]);
  }
  return most;
}

void snapshot_recipe::fill(std::uint32_t layer, std::uint32_t power, dense_layer& into) const {
  float* const out = into.weight.data();
  const auto row = into.row;
  const auto& last = parts_[0].terms[0].rows->rows;
  for (std::uint32_t s = 0; s < parts_.size(); ++s) {
    const double unit = 1 / std::max(largest(parts_[s], layer), 1e-300);
    double sum = 0;
    for (std::uint32_t e = 0; e < experts_; ++e) out[e * row + s] = 0;
    for (const auto& t : parts_[s].terms) {
      if (t.rows->rows.empty()) continue;
      const double* from = t.rows->rows[layer];
      const double factor = t.factor * unit;
      for (std::uint32_t e = 0; e < experts_; ++e) out[e * row + s] += static_cast<float>(from[e] * factor);
    }
    for (std::uint32_t e = 0; e < experts_; ++e) sum += out[e * row + s];
    const double root = std::pow(parts_[s].weight / weight_sum_, 1.0 / power);
    if (sum > 0) {
      const auto scale = static_cast<float>(root * into.ranks / sum);
      for (std::uint32_t e = 0; e < experts_; ++e) out[e * row + s] *= scale;
      continue;
    }
    const bool even = s == 0 || last.empty();  // a snapshot without load says nothing beside others that have some
    for (std::uint32_t e = 0; e < experts_; ++e)
      out[e * row + s] = even ? static_cast<float>(root * into.ranks / experts_) : out[e * row];
  }
}

namespace {

double squared_change(const double* a, const double* b, std::uint32_t experts) {
  double sum_a = 0, sum_b = 0, change = 0;
  for (std::uint32_t e = 0; e < experts; ++e) sum_a += a[e], sum_b += b[e];
  if (!std::isfinite(sum_a) || !std::isfinite(sum_b)) return 0;
  if (!(sum_a > 0) || !(sum_b > 0)) return 0;
  for (std::uint32_t e = 0; e < experts; ++e) {
    const double d = a[e] / sum_a - b[e] / sum_b;
    change += d * d;
  }
  return change;
}

}  // namespace

double observed_drift(const recent_loads& loads, std::uint32_t layers, std::uint32_t experts, std::uint32_t ranks) {
  std::vector<const load_rows*> rows;
  for (const auto& interval : loads.intervals) rows.push_back(&interval);
  if (rows.empty()) {
    if (loads.parts.size() < 2) return 0;
    rows = {&loads.parts.front(), &loads.parts.back()};
  } else {
    rows.push_back(&loads.last);
  }
  double change = 0;
  std::uint32_t counted = 0;
  const auto step = std::max(1U, layers / 8);  // some layers tell enough
  for (std::uint32_t layer = 0; layer < layers; layer += step) {
    for (std::size_t k = rows.size() > 8 ? rows.size() - 8 : 0; k + 1 < rows.size(); ++k) {
      if (rows[k]->rows.empty() || rows[k + 1]->rows.empty()) continue;
      change += squared_change(rows[k]->rows[layer], rows[k + 1]->rows[layer], experts);
      ++counted;
    }
  }
  return counted == 0 ? 0 : std::sqrt(change / counted * ranks);
}

}  // namespace ballast::policies
