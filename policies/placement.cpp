// place(): the problem checked, the policy run, slots assigned.
#include "policies/placement.hpp"

#include <algorithm>

#include "policies/eplb.hpp"
#include "policies/prepared_problem.hpp"

namespace ballast::policies {

namespace {

constexpr double noise = 1e-9;

// Even filling of the seats, in proportion to speed, up to their room.
std::vector<eplb_seat> quotas(const prepared_problem& p) {
  std::vector<eplb_seat> seats(p.seats.size());
  for (std::size_t s = 0; s < seats.size(); ++s) seats[s] = {0, p.seats[s].node, p.seats[s].speed};
  for (std::size_t given = 0; given < p.replicas; ++given) {
    std::size_t best = seats.size();
    for (std::size_t s = 0; s < seats.size(); ++s) {
      if (seats[s].quota >= p.room[s]) continue;
      if (best == seats.size() || (seats[s].quota + 1) / seats[s].speed < (seats[best].quota + 1) / seats[best].speed)
        best = s;
    }
    ++seats[best].quota;
  }
  return seats;
}

placement place_deepseek(const prepared_problem& p) {
  const auto seats = quotas(p);
  placement out;
  std::vector<std::int32_t> slots(p.slots);
  for (std::size_t layer = 0; layer < p.loads.size(); ++layer) {
    std::fill(slots.begin(), slots.end(), -1);
    const auto packed = eplb_layer(p.loads[layer], p.problem.groups, seats);
    auto at = slots.begin();
    for (std::size_t s = 0; s < packed.size(); at += p.room[s++]) std::copy(packed[s].begin(), packed[s].end(), at);
    out.layers.push_back(with_slots(p, layer, slots.data()));
  }
  return out;
}

load_rows rows_of(const load_matrix& loads) {
  load_rows out;
  for (const auto& row : loads) out.rows.push_back(row.data());
  return out;
}

// Peak to average of one layer as it is now, by its own shares; 0 if it may not stay as it is.
double standing(const prepared_problem& p, std::size_t layer) {
  placement one;
  one.layers = {p.problem.current->layers[layer]};
  if (!validate(one, 1, p.problem.experts, p.seats)) return 0;
  std::size_t replicas = 0;
  for (const auto& r : one.layers[0]) replicas += r.size();
  return replicas > p.replicas ? 0 : imbalance(one, {p.loads[layer]}, p.seats).layers[0];
}

bool same_seats(const layer_placement& a, const layer_placement& b) {
  for (std::size_t e = 0; e < a.size(); ++e) {
    const bool same = std::equal(a[e].begin(), a[e].end(), b[e].begin(), b[e].end(),
                                 [](const auto& x, const auto& y) { return x.seat == y.seat; });
    if (!same) return false;
  }
  return true;
}

// The layer as it is where nothing moved or where a move would do harm, with its own shares.
layer_placement settle(const prepared_problem& p, std::size_t layer, layer_placement planned, bool may_stay) {
  if (!p.problem.current || !may_stay) return planned;
  const double before = standing(p, layer);
  if (before == 0) return planned;
  const auto& current = p.problem.current->layers[layer];
  if (same_seats(current, planned)) return current;
  if (p.problem.shares_follow) return planned;
  placement one;
  one.layers = {planned};
  return imbalance(one, {p.loads[layer]}, p.seats).layers[0] > before + noise ? current : planned;
}

result<placement> place_planned(const prepared_problem& p, const plan_options& options,
                                std::vector<std::string>* notes) {
  plan_shape shape{p.problem.layers, p.problem.experts, p.problem.groups, {}, p.replicas - p.problem.experts};
  for (std::size_t s = 0; s < p.seats.size(); ++s)
    shape.ranks.push_back({p.room[s], p.seats[s].node, p.seats[s].speed});
  auto planned = planner::make(shape, options);
  if (!planned) return fail(planned.error());
  recent_loads loads{rows_of(p.loads), {}, {}};
  for (const auto& part : p.problem.history.parts) loads.parts.push_back(rows_of(part));
  for (const auto& interval : p.problem.history.intervals) loads.intervals.push_back(rows_of(interval));
  std::vector<std::int32_t> current, slots(std::size_t{p.problem.layers} * p.slots);
  if (p.problem.current) current = slots_of_current(p);
  auto summary = planned->plan(loads, p.problem.current ? current.data() : nullptr, slots.data());
  if (notes != nullptr) notes->insert(notes->end(), summary.notes.begin(), summary.notes.end());
  placement out;
  for (std::size_t layer = 0; layer < p.problem.layers; ++layer) {
    out.layers.push_back(settle(p, layer, with_slots(p, layer, slots.data() + layer * p.slots),
                                options.start != plan_options::start_t::nothing && summary.mended[layer] == 0));
  }
  return out;
}

std::string names() {
  std::string text;
  for (const auto& name : policy_names())
    text += (text.empty() ? "" : name == policy_names().back() ? " and " : ", ") + name;
  return text;
}

tl::unexpected<error> unknown(const std::string& policy) {
  return fail(errc::not_found, "no policy named '" + policy + "'; there are " + names());
}

}  // namespace

std::vector<std::string> policy_names() { return {"economy", "quality", "fresh", "static", "deepseek"}; }

result<plan_options> policy_options(const std::string& policy) {
  plan_options options;
  if (policy == "economy") return options;
  if (policy == "quality") {
    options.write_price = 0.0275;
    options.price_per_drift = 0.5;
    return options;
  }
  if (policy == "fresh") {
    options.start = plan_options::start_t::nothing;
    options.gain_min = 1e-3;
    return options;
  }
  if (policy == "static") {
    options.start = plan_options::start_t::keep;
    return options;
  }
  if (policy == "deepseek") return fail(errc::invalid_argument, "policy deepseek has no options");
  return unknown(policy);
}

result<placement> place(const std::string& policy, const placement_problem& problem, std::vector<std::string>* notes) {
  const auto known = policy_names();
  if (std::find(known.begin(), known.end(), policy) == known.end()) return unknown(policy);
  auto ready = prepare(problem);
  if (!ready) return fail(ready.error());
  result<placement> out;
  if (policy == "deepseek") {
    out = place_deepseek(*ready);
  } else {
    auto options = problem.options ? *problem.options : *policy_options(policy);
    options.target_imbalance = std::max(options.target_imbalance, problem.target_imbalance);
    out = place_planned(*ready, options, notes);
    if (!out) return out;
  }
  out->model = problem.model;
  out->version = problem.current ? problem.current->version + 1 : 1;
  return out;
}

}  // namespace ballast::policies
