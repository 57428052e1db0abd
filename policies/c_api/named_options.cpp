#include "policies/c_api/named_options.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace ballast::policies::c_api {

namespace {

constexpr double count_max = std::numeric_limits<std::uint32_t>::max();

// One option: where its value goes, and which values are right.
struct option {
  const char* name;
  double least, most;
  bool whole;      // a whole number
  bool of_policy;  // of plan_options, which deepseek has none of
  std::function<void(named_options&, double)> put;
};

template <class T>
option real(const char* name, T plan_options::*member, double least = 0) {
  return {name,  least, std::numeric_limits<double>::max(),
          false, true,  [member](named_options& o, double v) { (*o.plan).*member = v; }};
}

template <class T>
option whole(const char* name, T plan_options::*member, double least, double most) {
  return {name, least, most,
          true, true,  [member](named_options& o, double v) { (*o.plan).*member = static_cast<T>(v); }};
}

template <class T>
option snapshot(const char* name, T snapshot_weights::*member, bool is_whole) {
  return {name,     0,    is_whole ? count_max : std::numeric_limits<double>::max(),
          is_whole, true, [member](named_options& o, double v) { o.plan->snapshots.*member = static_cast<T>(v); }};
}

const std::vector<option>& options() {
  static const std::vector<option> all = {
      real("write_price", &plan_options::write_price),
      real("price_per_drift", &plan_options::price_per_drift),
      real("target_imbalance", &plan_options::target_imbalance, 1),
      real("gain_min", &plan_options::gain_min),
      whole("changes_max", &plan_options::changes_max, 0, count_max),
      whole("idle_ranks_max", &plan_options::idle_ranks_max, 0, count_max),
      whole("power", &plan_options::power, 8, 16),
      whole("home_copies", &plan_options::home_copies, 0, 1),
      snapshot("snapshots.last", &snapshot_weights::last, false),
      snapshot("snapshots.now", &snapshot_weights::now, false),
      snapshot("snapshots.fading", &snapshot_weights::fading, false),
      snapshot("snapshots.part", &snapshot_weights::part, false),
      snapshot("snapshots.change", &snapshot_weights::change, false),
      snapshot("snapshots.reach", &snapshot_weights::reach, false),
      snapshot("snapshots.since", &snapshot_weights::since, false),
      snapshot("snapshots.parts_max", &snapshot_weights::parts_max, true),
      snapshot("snapshots.changes_max", &snapshot_weights::changes_max, true),
      {"solved_shares", 0, 1, true, true, [](named_options& o, double v) { o.solved_shares = v != 0; }},
      {"redundant", 0, count_max, true, false,
       [](named_options& o, double v) { o.redundant = static_cast<std::uint32_t>(v); }},
      {"threads", 1, 1024, true, false, [](named_options& o, double v) { o.threads = static_cast<std::uint32_t>(v); }},
      {"shares.gap", 0, 1, false, false, [](named_options& o, double v) { o.shares.gap = v; }},
      {"shares.even", 0, 1, false, false, [](named_options& o, double v) { o.shares.even = v; }},
  };
  return all;
}

std::string text_of(double value) {
  auto text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

result<named_options> named_options::of(const std::string& policy) {
  named_options out;
  out.policy = policy;
  const auto names = policy_names();
  auto plan = policy_options(policy);
  if (plan) out.plan = *plan;
  if (!plan && std::find(names.begin(), names.end(), policy) == names.end()) return fail(plan.error());
  return out;
}

status named_options::set(const std::string& name, double value) {
  const auto found = std::find_if(options().begin(), options().end(), [&](const option& o) { return o.name == name; });
  if (found == options().end()) {
    std::string names;
    for (const auto& o : options()) names += (names.empty() ? "" : ", ") + std::string(o.name);
    return fail(errc::not_found, "no option named '" + name + "'; there are " + names);
  }
  if (found->of_policy && !plan)
    return fail(errc::invalid_argument, "option " + name + ": policy " + policy + " does not have it");
  const bool good = value >= found->least && value <= found->most && (!found->whole || std::floor(value) == value);
  if (!good) {
    const bool open = found->most == std::numeric_limits<double>::max();
    return fail(errc::invalid_argument, "option " + name + " is not a " + (found->whole ? "whole number" : "number") +
                                            " of " + text_of(found->least) +
                                            (open ? " or more" : " to " + text_of(found->most)));
  }
  found->put(*this, value);
  return {};
}

}  // namespace ballast::policies::c_api
