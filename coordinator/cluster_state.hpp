// Everything the cluster state machine knows. Plain data; changed only by step() and the parts it is made of.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/cluster_phases.hpp"
#include "coordinator/plans.hpp"
#include "coordinator/service.hpp"
#include "messages/complaints.hpp"
#include "messages/messages.hpp"
#include "policies/load_window.hpp"
#include "policies/start_plan.hpp"

namespace ballast::cluster {

// idle: joined, holds nothing. joining, leaving: part of a scale under way. lost: its incarnation is fenced.
enum class seat_state : std::uint8_t { idle, joining, active, leaving, lost };
const char* to_string(seat_state s) noexcept;

struct seat_record {
  seat_id id{};
  std::string agent;
  std::uint32_t local_rank = 0;
  std::uint32_t node = 0;
  incarnation_t incarnation = 0;
  seat_state state = seat_state::lost;
  rank_offer offer;
  std::uint64_t heard_ms = 0;
  std::uint64_t last_sequence = 0;     // of the commands to this incarnation
  std::map<model_index, double> pace;  // tokens its experts take in a ms, damped
  double speed = 0;                    // relative to the others' pace, as used in plans; 0: not measured yet
  seat_beat beat;                      // newest
};

struct agent_record {
  std::string node, peer, front_end;
  std::uint64_t process = 0;
  std::optional<std::uint64_t> closed_ms;  // since when it has no connection
  std::deque<std::uint64_t> former;        // processes that this name had before, newest last; at most 32
  std::map<std::uint32_t, seat_id> seats;  // by local rank
  refusal_counts refused;                  // as it last said; not stored
};

// Loads of some steps as they are recorded.
struct load_interval {
  model_index model = 0;
  step_t first = 0, last = 0;
  load_matrix tokens;
  std::map<seat_id, std::vector<double>> received;  // by seat: tokens of each layer
  std::map<seat_id, double> step_ms;
};

struct model_record {
  model_record(model_description d, std::uint64_t window_steps)
      : description(std::move(d)), window(description.layers, description.experts, window_steps) {}

  model_description description;
  std::optional<placement> current;  // newest table whose replicas are all in place; what members use or are about to
  std::optional<placement> publishing;  // sent to members, not in use on all of them yet
  version_t last_version = 0;           // highest ever given out
  policies::load_window window;
  step_t decided_at = 0;        // step of the last rebalance decision
  double imbalance_before = 0;  // mean, just before the last placement change
  bool was_paying = false;      // what the last decision said
  std::uint64_t shares_looked_ms = 0;
  step_t shares_solved_for = 0;  // last step of the loads that were looked at
  std::uint64_t shares_looks = 0;
  std::uint64_t share_updates = 0, share_skips = 0;
  double imbalance_shares = 0;  // predicted by the last update
  double shares_leave =
      0;  // imbalance that no shares can take away, at the last look; 0: not looked since the last decision
  load_interval recorded;  // being put together
  step_t recorded_to = 0;
};

// Loads that the first placement is planned from: `read_stats`.
struct recorded_start {
  std::string source;
  policies::recorded_loads recorded;  // of at least one record
};

// Slots of a seat that may hold a page although no table in use names them; emptied before anything else goes there.
using litter = std::map<seat_id, std::set<slot_ref>>;

struct awaited_answer {
  seat_id seat{};
  std::uint64_t sequence = 0;
  std::uint64_t sent_ms = 0;
  std::uint32_t failures = 0;
  command_body body;
};

// One command to each of a set of seats. Over when nobody is awaited.
struct round {
  std::vector<awaited_answer> awaited;
  std::vector<seat_outcome> answers;
  std::uint64_t deadline_ms = 0;
};

// shares: new shares for the replicas in use. Goes through the same rounds as all others, but many times a second and
// by itself: it is in no list of operations and has no number of its own.
enum class operation_kind : std::uint8_t { rebalance, scale, replace, shares };
inline constexpr operation_id share_operation = ~operation_id{0};
const char* to_string(operation_kind k) noexcept;

// An operation that waits for its turn.
struct order {
  operation_id id = 0;
  operation_kind kind = operation_kind::rebalance;
  std::vector<model_index> models;  // rebalance
  std::vector<seat_id> target;      // scale: as asked for; empty: any `ranks`
  std::uint32_t ranks = 0;
  bool join_first = false;
  bool forced = false;          // rebalance: also when it does not pay
  bool for_latest = false;      // rebalance: planned for the latest loads, not for the whole window
  std::uint64_t budget_ms = 0;  // from its beginning
  std::string reason;
};

struct operation {
  order what;
  std::vector<phase> program;  // phases still to come, the one under way first
  round now;
  std::vector<awaited_answer> unsettled;  // stages broken off: no slot is emptied before they have ended
  std::vector<seat_id> joiners, leavers;  // of the program under way
  std::vector<seat_id> old_members, new_members;
  bool growing = false;  // a scale that has joiners and leavers grows first, then shrinks
  epoch_t epoch = 0;     // being built
  epoch_t old_epoch = 0;
  bool switch_uncertain = false;  // armed and not known to be off again
  bool committed = false;
  bool undoing = false;
  bool stop_after_wave = false;
  std::string reason;  // of an undo or a failure
  std::optional<plan_request> asked;
  std::optional<plan> made;
  std::size_t model = 0, wave = 0;                   // of `made`
  std::vector<std::optional<placement>> old_tables;  // to take a switch back to, by model
  std::uint32_t old_wanted = 0;                      // of the cluster, before the switch
  std::uint32_t attempts = 0;                        // replace: how often it was started over
  std::uint64_t pause_until_ms = 0;                  // replace: not started over before; 0: no pause
  bool settling = false;                             // the round waits for `unsettled`
  std::uint64_t deadline_ms = 0;
  std::uint64_t began_ms = 0, moving_since_ms = 0;
  double quiet_step_ms = 0, moving_step_ms = 0;  // before anything moved; summed over the beats since
  std::uint32_t moving_beats = 0;
  operation_status report;
};

struct preview_request {
  std::string peer;
  std::uint64_t id = 0;
  plan_request asked;
  bool decision = false;    // of the trigger, not of an operator
  bool for_latest = false;  // as in the order that comes of it
};

struct cluster_state {
  explicit cluster_state(coordinator_config c) : config(std::move(c)), wanted(config.initial_ranks) {}

  coordinator_config config;
  std::uint64_t now_ms = 0;
  std::map<std::string, agent_record> agents;  // at most max_agents
  std::vector<seat_record> seats;              // by seat id; at most max_seats
  std::vector<std::string> nodes;
  std::vector<model_record> models;
  std::uint32_t agreed_batch_tokens = 0;  // every seat takes at least so many tokens into a step
  std::vector<seat_id> members;           // seats that step, sorted; empty: nothing is served
  std::vector<seat_id> held;              // seats that were told to stop for a synchronous rebalance
  epoch_t epoch = 0, last_epoch = 0;
  step_t newest_step = 0;
  operation_id last_operation = 0;
  std::uint64_t last_plan = 0, last_event = 0;
  std::optional<operation> running;
  std::deque<order> queue;               // at most max_queue; a newer scale takes the place of an older one
  std::deque<operation_status> history;  // newest first, at most max_history
  std::deque<std::pair<std::string, operation_id>> requests;  // answered before, at most max_requests
  std::deque<preview_request> previews;                       // at most max_previews
  litter unnamed;
  std::uint32_t wanted;  // number of members that operators last asked for
  bool served_before = false;
  std::uint64_t rest_until_ms = 0;  // no automatic scale before, after one that failed
  std::string complaint;            // why the cluster does not start by itself, logged once
  double page_seconds = 0;          // of a copy on the busiest receiver, measured over finished operations; 0: none yet
  double copy_slowdown = 0;         // how much longer steps took meanwhile: 0.1 = 10 %
  std::optional<double> expert_part;  // of the busiest rank's step that is spent in experts, damped
  std::optional<plan_request> shares_asked;
  std::size_t shares_turn = 0;
  std::optional<recorded_start> start;
  std::uint64_t replayed = 0;  // messages that were not obeyed because they are repeats or out of date
  complaints replays;
  std::set<seat_id> unheard;  // since a restart: what they are to do is repeated when they are heard

  static constexpr std::size_t max_agents = 1024, max_seats = 4096, max_queue = 16, max_history = 64,
                               max_requests = 256, max_previews = 16, max_former = 32;
};

}  // namespace ballast::cluster
