// What the planner makes of loads and seats: targets, the tables on the way and the moves between them, for every kind
// of operation. Pure and deterministic; the planner actor runs it off the critical path, the simulator directly.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"
#include "policies/net_benefit.hpp"
#include "policies/placement.hpp"
#include "policies/waves.hpp"

namespace ballast::cluster {

enum class plan_kind {
  start,   // nobody steps: a target, all of it staged from the checkpoint
  move,    // waves from `current` to a target on the problem's seats (rebalance, evacuation)
  grow,    // the joiners' part of the target is staged first; then a switch table; then waves
  repair,  // everything is halted: `current` without its lost seats, orphans placed again, no waves
  shares,  // `current` with shares solved for the loads: one wave that moves nothing
};

struct plan_task {
  policies::placement_problem problem;        // seats: those to place on; current: the table in use (none: start)
  std::vector<policies::seat_info> everyone;  // seats of current and target, sorted
};

struct plan_request {
  std::uint64_t id = 0;
  operation_id operation = 0;  // 0: a preview
  plan_kind kind = plan_kind::move;
  std::string policy;
  std::vector<plan_task> tasks;  // by model
  std::vector<seat_id> joiners;  // grow
  bool join_first = false;       // grow: switch first, with joiners that hold nothing
  policies::wave_limits limits;
  bool solve_shares = false;  // of targets, and of tables that no replica has to be awaited for
  // move: layers that do not pay by it keep their replicas. None: all layers move
  std::optional<policies::benefit_question> benefit;
};

struct model_plan {
  model_index model = 0;
  version_t base = 0;  // version of the table that the plan starts from; 0: none
  placement target;
  placement table;                         // start, repair: to resume with; grow: to switch to; move: the base
  std::vector<policies::transfer> staged;  // replicas of `table` to be brought in before it is used
  std::vector<policies::drop> dropped;     // repair: slots of the base that `table` names no more
  std::vector<policies::wave> waves;       // from `table` to `target`
  double imbalance_before = 0, imbalance_after = 0;  // mean over layers, by the loads of the problem
  double imbalance_staying = 0;                      // with no replica moved, but shares solved where they are
  std::uint64_t copies = 0;
  std::uint32_t layers_left = 0;  // layers that the policy would have changed, but whose gain does not pay for it
};

struct plan {
  std::uint64_t id = 0;
  std::vector<model_plan> models;
};

// Errors: those of policies::place and policies::plan_waves; does_not_fit (repair, with the numbers).
result<plan> make_plan(const plan_request& request);

// The plan keeps I1-I3 when carried out as it stands: every table legal, no add into a slot in use, no drop of a slot
// that the next table names, every source holding what is read from it. Error: the first fault found.
status check_plan(const plan_request& request, const plan& made);

// The same replicas with shares solved for the problem's loads and seats. Errors: those of policies::solve_shares.
result<placement> with_solved_shares(placement p, const policies::placement_problem& problem);

// Replicas of each expert take even shares.
void even_shares(placement& p);

// `current` on the given seats only, orphans placed again on seats with room (surplus replicas give way where there is
// none). staged: the orphans, from the checkpoint.
result<model_plan> repair(const plan_task& task);

}  // namespace ballast::cluster
