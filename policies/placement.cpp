// place(): the problem checked, the policy run layer by layer, slots assigned.
#include "policies/placement.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "policies/eplb.hpp"
#include "policies/incremental.hpp"
#include "policies/layer_state.hpp"

namespace ballast::policies {

namespace {

constexpr std::uint32_t none = ~0U;
constexpr double fresh_target = 1.001;  // closer gains nothing: the next window differs by far more

// A problem with its seats in order and its numbers settled; what every policy starts from.
struct prepared {
  const placement_problem& problem;
  std::vector<seat_info> seats;  // by id
  seat_table table;
  std::size_t replicas = 0;  // a layer, redundant ones included
  std::vector<std::vector<double>> weights;

  std::uint32_t index(seat_id seat) const {
    const auto at =
        std::lower_bound(seats.begin(), seats.end(), seat, [](const auto& s, seat_id id) { return s.seat < id; });
    return at != seats.end() && at->seat == seat ? static_cast<std::uint32_t>(at - seats.begin()) : none;
  }
};

tl::unexpected<error> bad(const std::string& text) {
  return fail(errc::invalid_argument, "placement problem: " + text);
}

status check_loads(const placement_problem& problem) {
  if (!problem.loads.empty() && problem.loads.size() != problem.layers) {
    return bad("loads of " + std::to_string(problem.loads.size()) + " layers for a model of " +
               std::to_string(problem.layers));
  }
  for (std::size_t layer = 0; layer < problem.loads.size(); ++layer) {
    const auto& row = problem.loads[layer];
    if (row.size() != problem.experts) {
      return bad("loads of layer " + std::to_string(layer) + " name " + std::to_string(row.size()) +
                 " experts, the model has " + std::to_string(problem.experts));
    }
    for (std::size_t e = 0; e < row.size(); ++e) {
      if (!std::isfinite(row[e]) || row[e] < 0) {
        return bad("load of layer " + std::to_string(layer) + ", expert " + std::to_string(e) +
                   " is not a number >= 0");
      }
    }
  }
  if (!problem.current) return {};
  if (problem.current->layers.size() != problem.layers)
    return bad("the current placement has another number of layers");
  for (const auto& layer : problem.current->layers) {
    if (layer.size() != problem.experts) return bad("the current placement has another number of experts");
  }
  return {};
}

result<prepared> prepare(const placement_problem& problem) {
  prepared out{problem, problem.seats, {}, 0, {}};
  if (problem.layers == 0 || problem.experts == 0) return bad("no layers or no experts");
  if (problem.seats.empty()) return bad("no seats to place on");
  if (!(problem.target_imbalance >= 1)) return bad("target_imbalance is below 1");
  if (auto ok = check_loads(problem); !ok) return fail(ok.error());
  std::sort(out.seats.begin(), out.seats.end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
  std::uint64_t slots = 0, usable = 0;
  for (std::size_t s = 0; s < out.seats.size(); ++s) {
    const auto& seat = out.seats[s];
    const auto name = "seat " + std::to_string(index_of(seat.seat));
    if (s > 0 && seat.seat == out.seats[s - 1].seat) return bad(name + " is named twice");
    if (!std::isfinite(seat.speed) || seat.speed <= 0) return bad("speed of " + name + " is not a number > 0");
    const auto room = std::min(seat.capacity.slots_per_layer, problem.experts);  // none twice on a seat
    out.table.room.push_back(room);
    out.table.speed.push_back(seat.speed);
    out.table.node.push_back(seat.node);
    out.table.speed_sum += seat.speed;
    slots += seat.capacity.slots_per_layer;
    usable += room;
  }
  if (usable < problem.experts) {
    return fail(errc::does_not_fit, "model " + std::to_string(problem.model) + ": " + std::to_string(problem.experts) +
                                        " experts a layer, but " + std::to_string(out.seats.size()) + " seats hold " +
                                        std::to_string(slots) + "; add seats or slots");
  }
  out.replicas = problem.experts + std::min<std::uint64_t>(problem.redundant, usable - problem.experts);
  out.weights.reserve(problem.layers);
  for (std::size_t layer = 0; layer < problem.layers; ++layer) {
    out.weights.push_back(problem.loads.empty() ? std::vector<double>(problem.experts, 0.0) : problem.loads[layer]);
    auto& row = out.weights.back();
    if (std::accumulate(row.begin(), row.end(), 0.0) <= 0) std::fill(row.begin(), row.end(), 1.0);
  }
  return out;
}

// Slots: a replica that stays keeps its own, the others take the lowest free ones.
layer_placement with_slots(const prepared& p, std::size_t layer, const layer_state& state) {
  layer_placement out(p.problem.experts);
  std::vector<std::vector<bool>> used(p.seats.size());
  for (std::size_t s = 0; s < used.size(); ++s) used[s].assign(slot_entries(p.seats[s].capacity), false);
  for (std::uint32_t e = 0; e < p.problem.experts; ++e) {
    const double share = 1.0 / state.copies(e);
    for (const auto s : state.holders(e)) {
      replica r{p.seats[s].seat, none, share};
      if (p.problem.current) {
        for (const auto& old : p.problem.current->layers[layer][e]) {
          if (old.seat == r.seat && old.slot < used[s].size() && !used[s][old.slot]) r.slot = old.slot;
        }
      }
      if (r.slot != none) used[s][r.slot] = true;
      out[e].push_back(r);
    }
  }
  std::vector<std::uint32_t> next(p.seats.size());
  for (std::uint32_t e = 0; e < p.problem.experts; ++e) {
    for (std::size_t i = 0; i < out[e].size(); ++i) {
      if (out[e][i].slot != none) continue;
      const auto s = state.holders(e)[i];
      while (used[s][next[s]]) ++next[s];
      out[e][i].slot = next[s]++;
    }
  }
  return out;
}

// Even filling of the seats, in proportion to speed, up to their room.
std::vector<eplb_seat> quotas(const prepared& p) {
  std::vector<eplb_seat> seats(p.seats.size());
  for (std::size_t s = 0; s < seats.size(); ++s) seats[s] = {0, p.table.node[s], p.table.speed[s]};
  for (std::size_t given = 0; given < p.replicas; ++given) {
    std::size_t best = seats.size();
    for (std::size_t s = 0; s < seats.size(); ++s) {
      if (seats[s].quota >= p.table.room[s]) continue;
      if (best == seats.size() || (seats[s].quota + 1) / seats[s].speed < (seats[best].quota + 1) / seats[best].speed)
        best = s;
    }
    ++seats[best].quota;
  }
  return seats;
}

placement place_deepseek(const prepared& p) {
  const auto seats = quotas(p);
  placement out;
  for (std::size_t layer = 0; layer < p.weights.size(); ++layer) {
    layer_state state(p.weights[layer], p.table);
    const auto packed = eplb_layer(p.weights[layer], p.problem.groups, seats);
    for (std::uint32_t s = 0; s < packed.size(); ++s) {
      for (const auto e : packed[s]) state.add(e, s);
    }
    out.layers.push_back(with_slots(p, layer, state));
  }
  return out;
}

// Peak to average of one layer as it is now, by its own shares; 0 if it may not stay as it is.
double standing(const prepared& p, std::size_t layer) {
  placement one;
  one.layers = {p.problem.current->layers[layer]};
  if (!validate(one, 1, p.problem.experts, p.seats)) return 0;
  std::size_t replicas = 0;
  for (const auto& r : one.layers[0]) replicas += r.size();
  return replicas > p.replicas ? 0 : imbalance(one, {p.weights[layer]}, p.seats).layers[0];
}

placement place_incremental(const prepared& p) {
  placement out;
  for (std::size_t layer = 0; layer < p.weights.size(); ++layer) {
    layer_state state(p.weights[layer], p.table);
    search_limits limits{p.replicas, p.problem.target_imbalance, 4 * p.replicas, true, true};
    if (!p.problem.current) {
      pack_fresh(state, p.replicas);
      limits.target = fresh_target;
      limits.copies_cost = limits.may_shrink = false;
      improve(state, limits);
      out.layers.push_back(with_slots(p, layer, state));
      continue;
    }
    const double before = standing(p, layer);
    const auto& current = p.problem.current->layers[layer];
    if (before > 0 && before <= p.problem.target_imbalance) {
      out.layers.push_back(current);
      continue;
    }
    for (std::uint32_t e = 0; e < p.problem.experts; ++e) {
      for (const auto& r : current[e]) {
        if (const auto s = p.index(r.seat); s != none && !state.holds(s, e)) state.add(e, s);
      }
    }
    make_legal(state, p.replicas);
    improve(state, limits);
    const bool worse = before > 0 && state.time(state.slowest()) >= before * state.ideal();
    out.layers.push_back(worse ? current : with_slots(p, layer, state));
  }
  return out;
}

}  // namespace

std::vector<std::string> policy_names() { return {"deepseek", "incremental"}; }

result<placement> place(const std::string& policy, const placement_problem& problem) {
  if (policy != "deepseek" && policy != "incremental") {
    return fail(errc::not_found, "no policy named '" + policy + "'; there are deepseek and incremental");
  }
  auto ready = prepare(problem);
  if (!ready) return fail(ready.error());
  auto out = policy == "deepseek" ? place_deepseek(*ready) : place_incremental(*ready);
  out.model = problem.model;
  out.version = problem.current ? problem.current->version + 1 : 1;
  return out;
}

}  // namespace ballast::policies
