// Placement problems of any shape, all from seeds, and what must hold of every plan for them (an empty string if it
// does).
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>

#include "policies/placement.hpp"
#include "tests/policies/shapes.hpp"

namespace ballast::policies::testing {

struct shape_bounds {
  std::uint32_t ranks = 128, nodes = 16, experts = 512, spares = 256, layers = 2;
};

class random_problems {
 public:
  random_problems(std::uint64_t seed, const shape_bounds& bounds) : random_(seed), bounds_(bounds) {}

  placement_problem next() {
    placement_problem p;
    p.layers = upto(bounds_.layers);
    p.experts = skewed_upto(bounds_.experts);
    p.groups = p.experts % 8 == 0 ? 8 : upto(4);
    p.redundant = upto(4) == 1 ? 0 : skewed_upto(bounds_.spares);
    p.seats = seats(p.experts, p.redundant);
    p.loads = loads(p.layers, p.experts);
    return p;
  }

  // Seats that hold so many experts: gaps in the ids, often unequal slots and speeds.
  std::vector<seat_info> seats(std::uint32_t experts, std::uint32_t redundant) {
    const auto ranks = skewed_upto(bounds_.ranks), nodes = upto(std::min(bounds_.nodes, ranks));
    const auto slots = (experts + redundant + ranks - 1) / ranks;
    const bool even = upto(3) != 1, fast = upto(4) == 1;
    std::vector<seat_info> out;
    std::uint32_t usable = 0, id = upto(3);
    while (out.size() < ranks || usable < experts) {
      const auto room = even ? slots : slots - std::min(slots, upto(3)) + upto(4);
      const auto node = static_cast<std::uint32_t>(out.size()) * nodes / ranks;
      out.push_back({seat_id{id}, node, fast ? 0.5 * upto(4) : 1.0, {room, 1}});
      usable += std::min(room, experts);
      id += upto(2);
    }
    return out;
  }

  load_matrix loads(std::uint32_t layers, std::uint32_t experts) {
    load_matrix out(layers, std::vector<double>(experts));
    for (auto& row : out) {
      const auto kind = upto(6);
      std::lognormal_distribution<double> draw(6.0, kind == 1 ? 3.0 : 0.8);
      for (auto& load : row) load = kind == 2 ? 0 : kind == 3 ? 5 : std::floor(draw(random_));
      if (kind == 4) row[upto(experts) - 1] = 1e18;  // one expert has nearly all
      if (kind == 5) std::fill(row.begin() + upto(experts) / 2, row.end(), 0.0);
      if (kind == 6)
        for (auto& load : row) load *= 1e-200;
    }
    return out;
  }

  std::uint32_t upto(std::uint32_t most) { return 1 + static_cast<std::uint32_t>(random_() % most); }
  std::uint32_t skewed_upto(std::uint32_t most) { return upto(upto(most)); }

 private:
  std::mt19937_64 random_;
  shape_bounds bounds_;
};

// Every group has a node that holds all its experts.
inline std::string homes_kept(const placement& plan, const placement_problem& problem) {
  std::map<seat_id, std::uint32_t> node;
  for (const auto& s : problem.seats) node[s.seat] = s.node;
  const auto size = problem.experts / problem.groups;
  for (const auto& layer : plan.layers) {
    for (std::uint32_t g = 0; g < problem.groups; ++g) {
      std::map<std::uint32_t, std::uint32_t> here;
      for (std::uint32_t e = g * size; e < (g + 1) * size; ++e) {
        std::set<std::uint32_t> nodes;
        for (const auto& r : layer[e]) nodes.insert(node[r.seat]);
        for (const auto n : nodes) ++here[n];
      }
      if (std::none_of(here.begin(), here.end(), [&](const auto& n) { return n.second == size; }))
        return "group " + std::to_string(g) + " is on no node whole";
    }
  }
  return {};
}

// Plans from nothing, then for changed loads and perhaps changed seats; checks what must always hold.
inline std::string check_plans(std::uint64_t seed, const shape_bounds& bounds) {
  random_problems make(seed, bounds);
  auto problem = make.next();
  const std::vector<std::string> names = policy_names();
  const auto first_policy = names[make.upto(static_cast<std::uint32_t>(names.size())) - 1];
  auto placed = place(first_policy, problem);
  if (!placed) return first_policy + ": " + placed.error().text;
  std::uint32_t usable = 0;
  for (const auto& s : problem.seats) usable += std::min(s.capacity.slots_per_layer, problem.experts);
  for (const auto& layer : placed->layers) {
    if (replica_count(layer) != std::min(usable, problem.experts + problem.redundant))
      return first_policy + " from nothing leaves redundant replicas out";
  }
  problem.current = *placed;
  const bool same_seats = make.upto(2) == 1;
  if (!same_seats) problem.seats = make.seats(problem.experts, problem.redundant);
  problem.loads = make.loads(problem.layers, problem.experts);
  for (auto k = make.upto(3); k > 1; --k)
    problem.history.intervals.push_back(make.loads(problem.layers, problem.experts));
  const auto policy = names[make.upto(static_cast<std::uint32_t>(names.size())) - 1];
  if (auto options = policy_options(policy)) {
    options->home_copies = make.upto(4) == 1;
    options->power = 8 * make.upto(2);
    problem.options = *options;
  }
  std::vector<std::string> notes;
  const auto plan = place(policy, problem, &notes);
  if (!plan) return policy + ": " + plan.error().text;
  if (const auto ok = validate(*plan, problem.layers, problem.experts, problem.seats); !ok) return ok.error().text;
  auto shuffled = problem;
  std::reverse(shuffled.seats.begin(), shuffled.seats.end());
  if (shuffled.options) shuffled.options->threads = 3;
  if (*place(policy, shuffled) != *plan) return policy + " depends on the order of seats or on threads";
  if (problem.options && problem.options->home_copies && notes.empty() && problem.seats.back().node > 0) {
    if (auto fault = homes_kept(*plan, problem); !fault.empty() && same_seats) return policy + ": " + fault;
  }
  if (!same_seats || policy == "fresh" || policy == "deepseek") return {};
  if (problem.options->home_copies) return {};  // homes come first
  const auto before = imbalance(*problem.current, problem.loads, problem.seats),
             after = imbalance(*plan, problem.loads, problem.seats);
  for (std::size_t l = 0; l < before.layers.size(); ++l) {
    if (after.layers[l] > before.layers[l] + 1e-9) return policy + " is worse than staying put";
  }
  return {};
}

}  // namespace ballast::policies::testing
