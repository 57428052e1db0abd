// What every placement policy takes and gives, and what makes a placement legal. Pure functions, deterministic: equal
// inputs give equal outputs on every host.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"
#include "policies/planner.hpp"

namespace ballast::policies {

struct seat_info {
  seat_id seat{};
  std::uint32_t node = 0;  // seats of one node share a fast link
  double speed = 1.0;      // relative; load is divided by it
  model_capacity capacity{};
};

// What was seen before and within the window that a placement is planned from, oldest first, so that a policy can plan
// for several recent loads at once. Either list may be empty; every matrix has the problem's shape.
struct load_history {
  std::vector<load_matrix> intervals;  // whole rebalance intervals before the last one
  std::vector<load_matrix> parts;      // the last one in consecutive parts of equal length; they sum to `loads`
};

// Everything a policy may look at. Seats are the ones to place on (sorted by id); `current` may live on others.
struct placement_problem {
  model_index model = 0;
  std::uint32_t layers = 0;
  std::uint32_t experts = 0;
  std::uint32_t groups = 1;
  std::uint32_t redundant = 0;  // replicas beyond one per expert, a layer; bounded by what the seats hold
  std::vector<seat_info> seats;
  load_matrix loads;     // [layer][expert] tokens over the window; all zero: even
  load_history history;  // may be empty; then a policy plans for `loads` alone
  std::optional<placement> current;
  double target_imbalance = 1.0;        // a layer that is no further from balance stays as it is (not with `fresh`)
  std::optional<plan_options> options;  // in place of the policy's own, see policy_options()
  // Somebody solves shares for the placement that comes out: a layer's present shares then count for nothing. Otherwise
  // a layer whose shares balance it better than the new placement would, split evenly, stays as it is.
  bool shares_follow = false;
};

// Policies by name:
//   economy   few writes, from `current`: the usual choice
//   quality   better balance for more writes, from `current`
//   fresh     the best balance of `loads` and `history`, whatever moves
//   static    `current`, changed only where experts would be missing; from nothing an even layout in order
//   deepseek  the published heuristic: hierarchical where groups and nodes allow it, global otherwise
// Errors: not_found (name; lists the names), does_not_fit (with the numbers), invalid_argument. The placement keeps the
// slot of every replica that stays; version is current's + 1, or 1. Tokens split evenly over the replicas; a layer that
// economy, quality or static leave alone keeps its shares. `notes`: a line for each wish that could not be met.
result<placement> place(const std::string& policy, const placement_problem& problem,
                        std::vector<std::string>* notes = nullptr);
std::vector<std::string> policy_names();
result<plan_options> policy_options(const std::string& policy);  // its defaults; errors: not_found, invalid_argument

// Legal: right shape, every expert covered, none twice on a seat, no slot twice, slots inside each seat's table, no
// more replicas a layer than slots_per_layer, shares in (0, 1] summing to 1, only the given seats. Error: the first
// fault found, naming layer, expert and seat. `at_rest` false allows slots_per_layer + spare_pages (between waves).
status validate(const placement& p, std::uint32_t layers, std::uint32_t experts, const std::vector<seat_info>& seats,
                bool at_rest = true);

// Peak-to-average ratio (PAR) of rank load, per layer, then aggregated over layers. Load of an expert goes to its
// replicas by share; loads are divided by speed, and the average is what every seat would take if they all ended
// together. Replicas on other seats do not count; a layer without load is balanced.
struct imbalance_report {
  std::vector<double> layers;
  double mean = 1, max = 1, min = 1;
};
imbalance_report imbalance(const placement& p, const load_matrix& loads, const std::vector<seat_info>& seats);

// The placement without the given seats: what is left after a loss (shares scaled to sum to 1 again, same version), and
// which (layer, expert) have no replica any more.
struct survivors {
  placement left;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> orphans;
};
survivors without_seats(const placement& p, const std::vector<seat_id>& gone);

}  // namespace ballast::policies
