#include "policies/prepared_problem.hpp"

#include <algorithm>
#include <cmath>

namespace ballast::policies {

namespace {

constexpr std::uint32_t no_slot = ~0U;

tl::unexpected<error> bad(const std::string& text) {
  return fail(errc::invalid_argument, "placement problem: " + text);
}

status check_loads(const load_matrix& loads, const placement_problem& problem, const std::string& name) {
  if (!loads.empty() && loads.size() != problem.layers) {
    return bad(name + " of " + std::to_string(loads.size()) + " layers for a model of " +
               std::to_string(problem.layers));
  }
  for (std::size_t layer = 0; layer < loads.size(); ++layer) {
    const auto& row = loads[layer];
    if (row.size() != problem.experts) {
      return bad(name + " of layer " + std::to_string(layer) + " name " + std::to_string(row.size()) +
                 " experts, the model has " + std::to_string(problem.experts));
    }
    for (std::size_t e = 0; e < row.size(); ++e) {
      if (!std::isfinite(row[e]) || row[e] < 0) {
        return bad(name + " of layer " + std::to_string(layer) + ", expert " + std::to_string(e) +
                   ": not a number >= 0");
      }
    }
  }
  return {};
}

status check(const placement_problem& problem) {
  if (problem.layers == 0 || problem.experts == 0) return bad("no layers or no experts");
  if (problem.seats.empty()) return bad("no seats to place on");
  if (!(problem.target_imbalance >= 1)) return bad("target_imbalance is below 1");
  if (auto ok = check_loads(problem.loads, problem, "loads"); !ok) return ok;
  for (const auto& interval : problem.history.intervals) {
    if (auto ok = check_loads(interval, problem, "earlier loads"); !ok) return ok;
  }
  for (const auto& part : problem.history.parts) {
    if (auto ok = check_loads(part, problem, "partial loads"); !ok) return ok;
  }
  if (!problem.current) return {};
  if (problem.current->layers.size() != problem.layers)
    return bad("the current placement has another number of layers");
  for (const auto& layer : problem.current->layers) {
    if (layer.size() != problem.experts) return bad("the current placement has another number of experts");
  }
  return {};
}

}  // namespace

std::uint32_t prepared_problem::index(seat_id seat) const {
  const auto at =
      std::lower_bound(seats.begin(), seats.end(), seat, [](const auto& s, seat_id id) { return s.seat < id; });
  return static_cast<std::uint32_t>((at != seats.end() && at->seat == seat ? at : seats.end()) - seats.begin());
}

result<prepared_problem> prepare(const placement_problem& problem) {
  if (auto ok = check(problem); !ok) return fail(ok.error());
  prepared_problem out{problem, problem.seats, {}, 0, 0, {}};
  std::sort(out.seats.begin(), out.seats.end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
  std::uint64_t slots = 0, usable = 0;
  for (std::size_t s = 0; s < out.seats.size(); ++s) {
    const auto& seat = out.seats[s];
    const auto name = "seat " + std::to_string(index_of(seat.seat));
    if (s > 0 && seat.seat == out.seats[s - 1].seat) return bad(name + " is named twice");
    if (!std::isfinite(seat.speed) || seat.speed <= 0) return bad("speed of " + name + " is not a number > 0");
    out.room.push_back(std::min(seat.capacity.slots_per_layer, problem.experts));
    slots += seat.capacity.slots_per_layer;
    usable += out.room.back();
  }
  if (usable < problem.experts) {
    return fail(errc::does_not_fit, "model " + std::to_string(problem.model) + ": " + std::to_string(problem.experts) +
                                        " experts a layer, but " + std::to_string(out.seats.size()) + " seats hold " +
                                        std::to_string(slots) + "; add seats or slots");
  }
  out.slots = static_cast<std::uint32_t>(usable);
  out.replicas = problem.experts +
                 static_cast<std::uint32_t>(std::min<std::uint64_t>(problem.redundant, usable - problem.experts));
  out.loads = problem.loads;
  out.loads.resize(problem.layers, std::vector<double>(problem.experts));
  for (auto& row : out.loads) {
    if (std::all_of(row.begin(), row.end(), [](double load) { return load <= 0; }))
      std::fill(row.begin(), row.end(), 1.0);
  }
  return out;
}

std::vector<std::int32_t> slots_of_current(const prepared_problem& p) {
  std::vector<std::int32_t> out(std::size_t{p.problem.layers} * p.slots, -1);
  std::vector<std::size_t> begin(1, 0);
  for (const auto room : p.room) begin.push_back(begin.back() + room);
  std::vector<std::vector<std::uint32_t>> on(p.seats.size());
  for (std::size_t layer = 0; layer < p.problem.layers; ++layer) {
    const auto& current = p.problem.current->layers[layer];
    for (auto& experts : on) experts.clear();
    for (std::uint32_t e = 0; e < p.problem.experts; ++e) {
      for (const auto& r : current[e]) {
        const auto s = p.index(r.seat);
        if (s < on.size() && (on[s].empty() || on[s].back() != e)) on[s].push_back(e);
      }
    }
    for (std::size_t s = 0; s < on.size(); ++s) {
      if (on[s].size() > p.room[s]) {
        std::stable_sort(on[s].begin(), on[s].end(), [&](auto a, auto b) {
          const bool only_a = current[a].size() == 1, only_b = current[b].size() == 1;
          return only_a != only_b ? only_a : p.loads[layer][a] > p.loads[layer][b];
        });
        on[s].resize(p.room[s]);
      }
      std::copy(on[s].begin(), on[s].end(), out.begin() + static_cast<std::ptrdiff_t>(layer * p.slots + begin[s]));
    }
  }
  return out;
}

layer_placement with_slots(const prepared_problem& p, std::size_t layer, const std::int32_t* slots) {
  layer_placement out(p.problem.experts);
  std::vector<std::vector<bool>> used(p.seats.size());
  for (std::size_t s = 0; s < used.size(); ++s) {
    used[s].assign(slot_entries(p.seats[s].capacity), false);
    for (std::uint32_t k = 0; k < p.room[s]; ++k, ++slots) {
      if (*slots >= 0) out[static_cast<std::size_t>(*slots)].push_back({p.seats[s].seat, no_slot, 1.0});
    }
  }
  for (std::uint32_t e = 0; e < p.problem.experts; ++e) {
    for (auto& r : out[e]) {
      r.share = 1.0 / static_cast<double>(out[e].size());
      if (!p.problem.current) continue;
      auto& taken = used[p.index(r.seat)];
      for (const auto& old : p.problem.current->layers[layer][e]) {
        if (old.seat == r.seat && old.slot < taken.size() && !taken[old.slot]) r.slot = old.slot;
      }
      if (r.slot != no_slot) taken[r.slot] = true;
    }
  }
  std::vector<std::uint32_t> next(p.seats.size());
  for (auto& replicas : out) {
    for (auto& r : replicas) {
      if (r.slot != no_slot) continue;
      const auto s = p.index(r.seat);
      while (used[s][next[s]]) ++next[s];
      r.slot = next[s]++;
    }
  }
  return out;
}

}  // namespace ballast::policies
