#include "policies/plan_loads.hpp"

#include <algorithm>
#include <cmath>

namespace ballast::policies {

namespace {

constexpr double weight_min = 1e-3, reach_max = 1e6;

// A layer's loads as parts of their sum. False if there are none, or none that can be counted.
bool parts_of_sum(const load_rows& from, std::uint32_t layer, std::uint32_t experts, std::vector<double>& out) {
  if (from.rows.empty()) return false;
  const double* row = from.rows[layer];
  const double most = *std::max_element(row, row + experts);
  if (!(most > 0) || !std::isfinite(most)) return false;
  double sum = 0;
  for (std::uint32_t e = 0; e < experts; ++e) sum += row[e] / most;
  out.resize(experts);
  for (std::uint32_t e = 0; e < experts; ++e) out[e] = row[e] / most / sum;
  return true;
}

}  // namespace

snapshot_recipe::snapshot_recipe(const recent_loads& loads, const snapshot_weights& weights, std::uint32_t experts)
    : reach_(std::min(weights.reach, reach_max)), since_(std::min(weights.since, reach_max)), experts_(experts) {
  const bool alone = loads.parts.empty() && loads.intervals.empty();
  add({{&loads.last, 1.0F}}, alone || loads.parts.empty() ? 1.0 : weights.last);
  if (!loads.parts.empty() && weights.now > 0) {
    std::vector<term> now;
    float factor = 1;
    for (std::size_t k = loads.parts.size(); k-- > 0 && factor > 1e-4F; factor *= static_cast<float>(weights.fading))
      now.push_back({&loads.parts[k], factor});
    now_ = sums_.size();
    add(std::move(now), weights.now);
  }
  const auto groups = std::min<std::size_t>(loads.parts.size(), weights.parts_max);
  for (std::size_t g = 0; g < groups && weights.part > 0; ++g) {
    std::vector<term> part;
    for (auto k = g * loads.parts.size() / groups; k < (g + 1) * loads.parts.size() / groups; ++k)
      part.push_back({&loads.parts[k], 1.0F});
    add(std::move(part), weights.part);
  }
  if (!(weights.change > 0)) return;
  const auto& earlier = loads.intervals;
  const auto count = std::min<std::size_t>(earlier.size(), weights.changes_max);
  for (auto k = earlier.size() - count; k < earlier.size(); ++k)
    changes_.push_back({&earlier[k], k + 1 < earlier.size() ? &earlier[k + 1] : &loads.last});
  change_weight_ = std::max(weights.change, weight_min);
  weight_sum_ += 2 * static_cast<double>(changes_.size()) * change_weight_;
}

void snapshot_recipe::add(std::vector<term> terms, double weight) {
  weight = std::max(weight, weight_min);
  weight_sum_ += weight;
  sums_.push_back({std::move(terms), weight});
}

double snapshot_recipe::root_of(double weight, std::uint32_t power) const {
  return std::pow(weight / weight_sum_, 1.0 / power);
}

double snapshot_recipe::first_root(std::uint32_t power) const { return root_of(sums_[0].weight, power); }

double snapshot_recipe::largest(const snapshot& of, std::uint32_t layer) const {
  double most = 0;
  for (const auto& t : of.terms) {
    if (t.rows->rows.empty()) continue;
    for (std::uint32_t e = 0; e < experts_; ++e) most = std::max(most, t.rows->rows[layer][e]);
  }
  return most;
}

void snapshot_recipe::fill(std::uint32_t layer, std::uint32_t power, dense_layer& into) const {
  fill_sums(layer, power, into);
  fill_changes(layer, power, into);
}

void snapshot_recipe::fill_sums(std::uint32_t layer, std::uint32_t power, dense_layer& into) const {
  float* const out = into.weight.data();
  const auto row = into.row;
  const auto& last = sums_[0].terms[0].rows->rows;
  for (std::uint32_t s = 0; s < sums_.size(); ++s) {
    const double unit = 1 / std::max(largest(sums_[s], layer), 1e-300);
    double sum = 0;
    for (std::uint32_t e = 0; e < experts_; ++e) out[e * row + s] = 0;
    for (const auto& t : sums_[s].terms) {
      if (t.rows->rows.empty()) continue;
      const double* from = t.rows->rows[layer];
      const double factor = t.factor * unit;
      for (std::uint32_t e = 0; e < experts_; ++e) out[e * row + s] += static_cast<float>(from[e] * factor);
    }
    for (std::uint32_t e = 0; e < experts_; ++e) sum += out[e * row + s];
    const double root = root_of(sums_[s].weight, power);
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

// A change of no known size leaves the loads as they are.
void snapshot_recipe::fill_changes(std::uint32_t layer, std::uint32_t power, dense_layer& into) const {
  if (changes_.empty()) return;
  const auto row = into.row;
  const float* const now = into.weight.data() + now_;
  const double root = root_of(change_weight_, power);
  double now_sum = 0;
  for (std::uint32_t e = 0; e < experts_; ++e) now_sum += now[e * row];
  float* out = into.weight.data() + sums_.size();
  std::vector<double> from, to(experts_), moved(experts_);
  bool known = parts_of_sum(*changes_[0].from, layer, experts_, from);
  for (const auto& c : changes_) {  // each starts where the one before it ended
    const bool also = parts_of_sum(*c.to, layer, experts_, to);
    for (const double way : {1.0, -1.0}) {
      double sum = 0;
      for (std::uint32_t e = 0; e < experts_; ++e) {
        const double here = now[e * row] / now_sum;
        const double step = known && also ? reach_ * (to[e] - from[e]) + since_ * (here - from[e]) : 0;
        moved[e] = std::max(0.0, here + way * step);
        sum += moved[e];
      }
      const double scale = root * into.ranks / sum;
      for (std::uint32_t e = 0; e < experts_; ++e) out[e * row] = static_cast<float>(moved[e] * scale);
      ++out;
    }
    std::swap(from, to);
    known = also;
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
