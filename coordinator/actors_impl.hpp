// The coordinator's actors and what they say to each other. Only for coordinator/*.cpp and its tests: includes CAF.
#pragma once

#include <atomic>
#include <caf/all.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "coordinator/cluster_machine.hpp"
#include "coordinator/cluster_rows.hpp"
#include "coordinator/effect_gate.hpp"
#include "coordinator/load_recorder.hpp"
#include "coordinator/store.hpp"
#include "messages/messages.hpp"

namespace ballast {

using input_ptr = std::shared_ptr<const cluster::input_body>;
using plan_request_ptr = std::shared_ptr<const cluster::plan_request>;
using recorded_ptr = std::shared_ptr<const cluster::recorded_interval>;
using change_ptr = std::shared_ptr<const store_change>;
using saved_ptr = std::shared_ptr<const status>;
using planned_ptr = std::shared_ptr<const cluster::input::planned>;

using tick_atom = caf::atom_constant<caf::atom("tick")>;
using retry_atom = caf::atom_constant<caf::atom("retry")>;
using stop_atom = caf::atom_constant<caf::atom("stop")>;

using planner_actor = caf::typed_actor<
    // Works the plan out; blocks this (detached) actor meanwhile.
    caf::replies_to<plan_request_ptr>::with<planned_ptr>, caf::reacts_to<stop_atom>>;

using recorder_actor = caf::typed_actor<
    // Writes it; blocks this (detached) actor meanwhile.
    caf::reacts_to<recorded_ptr>,
    // Closes the files, after all that came before.
    caf::reacts_to<stop_atom>>;

using store_actor = caf::typed_actor<
    // Saves it; blocks this (detached) actor meanwhile.
    caf::replies_to<change_ptr>::with<saved_ptr>,
    // Lets go of the store, after all that came before.
    caf::reacts_to<stop_atom>>;

using coordinator_actor = caf::typed_actor<
    // A message from the network.
    caf::reacts_to<input_ptr>,
    // The first when the links are there, then from itself, every tick_interval.
    caf::reacts_to<tick_atom>,
    // From itself, some time after the store failed.
    caf::reacts_to<retry_atom>,
    // Stops the planner and itself.
    caf::reacts_to<stop_atom>>;

// What the coordinator actor is connected to. The functions may be called from its handlers only and must not block.
struct coordinator_ports {
  explicit coordinator_ports(std::uint32_t waiting_of_a_peer = peer_limits{}.waiting) : of_peers(waiting_of_a_peer) {}

  std::function<status(const std::string& peer, const envelope& message)> send;
  std::function<status(const envelope& message)> publish;
  std::function<refusal_counts()> refused;  // at this process's sockets; none: not counted
  // Whether the store is still this coordinator's: any thread. And the term of everything that goes out.
  std::function<possession()> held = [] { return possession::ours; };
  std::uint64_t term = 0;
  // Messages on their way to the actor: its mailbox has no bound of its own, so the gateway counts (see max_waiting).
  std::atomic<std::size_t> waiting{0};
  static constexpr std::size_t max_waiting =
      65536;                              // beyond it messages are dropped; every sender repeats what matters
  waiting_room of_peers;                  // the same for each peer: none may take up all of it
  std::atomic<std::size_t> recording{0};  // intervals on their way to the recorder, bounded by recording_gate
};

inline constexpr std::chrono::milliseconds tick_interval{20};
inline constexpr std::chrono::milliseconds store_retry{500};
inline constexpr std::chrono::milliseconds store_patience{1000};  // a write that takes longer holds the coordinator up

// What a coordinator begins with: the state that its store held.
struct beginning {
  std::shared_ptr<store> kept;
  rows saved;
  cluster::cluster_state state;  // of `saved`
};

struct planner_state {};
using planning_function = result<cluster::plan> (*)(const cluster::plan_request&);
planner_actor::behavior_type planner(planner_actor::pointer self, planning_function make);

recorder_actor::behavior_type recorder(recorder_actor::stateful_pointer<std::optional<load_recorder>> self,
                                       recorder_options options, std::shared_ptr<coordinator_ports> ports);

store_actor::behavior_type keeper(store_actor::stateful_pointer<std::shared_ptr<store>> self, std::shared_ptr<store> where);

// Thin shell: one handler each, the decisions are cluster::step()'s.
class coordinator_shell {
 public:
  coordinator_shell() = default;
  void begin(coordinator_actor::pointer self, std::shared_ptr<beginning> from, std::shared_ptr<coordinator_ports> ports,
             planner_actor planner, recorder_actor recorder, store_actor keeper);
  void hear(const cluster::input_body& what);  // from the network
  void tick();
  void retry();
  void stop();

 private:
  // While the store fails, keeps it waiting or may be another's, the coordinator is as one that is held up: time stands
  // still, what agents say is dropped (they repeat it), operators are refused.
  bool held_up() const { return failing_ || gate_.full() || !leads(); }
  bool leads() const { return ports_->held() == possession::ours; }
  void refuse_operator(const cluster::input_body& what);
  void take(const cluster::input_body& what);
  void advance();
  void save(const change_ptr& change);
  void on_saved(const change_ptr& change, const status& outcome);
  void fall_behind(error why);
  void perform(cluster::effect::send& e);
  void perform(cluster::effect::request_plan& e);
  void perform(cluster::effect::publish& e);
  void perform(cluster::effect::record& e);
  void perform(cluster::effect::record_loads& e);
  void perform(cluster::effect::log_line& e);

  coordinator_actor::pointer self_ = nullptr;
  std::shared_ptr<coordinator_ports> ports_;
  planner_actor planner_;
  recorder_actor recorder_;  // none: nothing is recorded
  recording_gate recording_;
  store_actor keeper_;
  cluster::effect_gate gate_;
  cluster::state_saver saver_;
  change_ptr failed_;            // to be saved again
  std::optional<error> failing_;  // why nothing can be saved at present
  std::optional<std::chrono::steady_clock::time_point> saving_since_;
  std::optional<cluster::cluster_state> state_;
  std::uint64_t last_id_ = 0;
  std::uint64_t now_ms_ = 0;  // time in which this actor could work: it stands still while the process is held up
  std::chrono::steady_clock::time_point ticked_{};
};

coordinator_actor::behavior_type coordinator(coordinator_actor::stateful_pointer<coordinator_shell> self,
                                             std::shared_ptr<beginning> from, std::shared_ptr<coordinator_ports> ports);

}  // namespace ballast

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::input_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::plan_request_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::planned_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::change_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::saved_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::recorded_ptr)
