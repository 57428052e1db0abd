#include "policies/net_benefit.hpp"

#include <algorithm>
#include <cstdio>

namespace ballast::policies {

namespace {

std::string percent(double part) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %%", part < 0.001 && part > 0 ? 2 : 1, 100 * part);
  return text;
}

}  // namespace

benefit_answer net_benefit(const benefit_question& q) {
  const auto horizon = std::to_string(q.horizon_steps) + " steps";
  if (q.horizon_steps == 0) return {false, 0, 0, "rebalance skipped: the horizon is 0 steps"};
  benefit_answer out;
  const double horizon_seconds = static_cast<double>(q.horizon_steps) * q.step_seconds;
  const double copying_seconds = static_cast<double>(q.pages) * std::max(0.0, q.seconds_per_page);
  const double copying =
      horizon_seconds > 0 ? std::min(1.0, copying_seconds / horizon_seconds) : 0;  // part of the horizon
  const double saved = q.imbalance_before > 0 ? q.imbalance_share * (1 - q.imbalance_after / q.imbalance_before) : 0;
  out.gain = saved > 0 ? saved * (1 - copying) : saved;
  out.cost = copying * std::max(0.0, q.slowdown);
  if (out.gain < q.least_gain || out.gain <= 0) {
    out.text = "rebalance skipped: gain " + percent(out.gain) + " is below " + percent(q.least_gain) + " of a step";
    return out;
  }
  const double bar = out.cost * (q.was_paying ? 1 : 1 + q.hysteresis);
  out.pays = out.gain > bar;
  const bool only_margin = !out.pays && out.gain > out.cost;
  out.text = std::string(out.pays ? "rebalance pays: gain " : "rebalance skipped: gain ") + percent(out.gain) +
             (out.gain > out.cost ? " > cost " : " < cost ") + percent(out.cost) + " over " + horizon +
             (only_margin ? ", but by less than the margin of " + percent(q.hysteresis) : "");
  return out;
}

std::vector<bool> layers_that_pay(const benefit_question& q, const std::vector<layer_change>& layers) {
  double sum = 0;
  for (const auto& l : layers) sum += l.before;
  const double horizon_seconds = static_cast<double>(q.horizon_steps) * q.step_seconds;
  const double page_cost =
      horizon_seconds > 0 ? std::max(0.0, q.seconds_per_page) * std::max(0.0, q.slowdown) / horizon_seconds : 0;
  const double margin = 1 + std::max(0.0, q.hysteresis);
  std::vector<bool> out;
  for (const auto& l : layers) {
    const double fall = l.before - l.after;
    const double gain = sum > 0 ? q.imbalance_share * fall / sum : 0;
    const bool worth_it =
        fall > 0 && fall >= q.least_gain * l.before && gain > static_cast<double>(l.pages) * page_cost * margin;
    out.push_back(l.pages == 0 || worth_it);
  }
  return out;
}

}  // namespace ballast::policies
