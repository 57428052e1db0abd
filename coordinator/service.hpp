// The coordinator as a service: cluster state machine, planner, control gateway, store.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "coordinator/etcd_tls.hpp"
#include "messages/link.hpp"
#include "messages/result.hpp"

namespace ballast {

// Settings by the field's names (docs/CONFIG.md gives units and defaults).
struct coordinator_config {
  std::string bind = "tcp://127.0.0.1:7070";     // control gateway: agents, operators, clients
  std::string events = "tcp://127.0.0.1:7071";   // published events
  std::uint32_t initial_ranks = 1;               // seats to activate as soon as so many have joined
  std::uint32_t num_redundant_experts = 0;       // replicas beyond one per expert, a layer, over all ranks
  std::uint32_t window_size = 1000;              // steps the load window covers
  std::uint32_t step_interval = 3000;            // steps between rebalance decisions; 0: only by command
  std::uint32_t load_interval_steps = 8;         // expert_heat_collection_interval
  bool use_async = true;                         // false: stop, move everything, go (for comparison)
  std::string policy = "economy";
  double imbalance_trigger = 1.05;               // below this mean PAR nothing is planned
  double target_imbalance = 1.0;                 // a layer at or below it is left alone
  double min_gain_ratio = 1.0;                   // predicted gain over the horizon / measured cost must exceed this
  std::uint32_t planner_threads = 0;             // plans are equal for any number; 0: half of the processors
  std::uint32_t adds_per_seat = 0;               // in one wave; 0: all spare pages
  std::uint32_t heartbeat_ms = 100;
  std::uint32_t heartbeat_timeout_ms = 1000;
  std::uint32_t exit_grace_ms = 50;              // an agent whose connection was closed has so long to connect anew
  std::uint32_t step_timeout_ms = 60'000;        // a seat whose step takes longer hangs and is lost; 0: never
  std::uint32_t command_retry_ms = 500;          // an unanswered command is sent again
  std::uint32_t operation_deadline_ms = 60'000;
  std::uint32_t probation_steps = 8;
  bool auto_replace = true;                      // a lost rank is replaced from an idle seat
  std::uint32_t shares_interval_ms = 100;        // between looks at the shares of replicas; 0: they stay as planned
  std::uint32_t shares_window = 8;               // least steps whose loads shares are solved for
  double shares_tokens = 200;                    // least tokens of an expert in them, on average: fewer are noise
  double shares_gain = 0.005;                    // least fall of the mean PAR that is worth a table with new shares
  double early_imbalance = 1.05;                 // that shares leave: placements are planned before step_interval; 0: no
  bool measured_speeds = false;                  // plan with the ranks' measured speeds, not the ones they were given
  std::string record_stats;                      // file that loads are recorded in; empty: none
  std::uint32_t record_interval_steps = 0;       // steps in one record; 0: load_interval_steps
  std::uint32_t record_stats_mib = 256;          // a file that has grown to it is put aside
  std::uint32_t record_stats_files = 4;          // kept, with the one being written
  std::string store;                             // memory, sqlite://FILE or etcd://HOST:PORT; empty: memory
  etcd_tls store_tls;                            // of a store in etcd
  std::string read_stats;                        // recorded loads that the first placement is planned from; empty: none
  link_security security;                        // for the process's link_context
};

// Reads [coordinator] of a deployment's TOML file. Errors: one line naming key, file line and remedy.
result<coordinator_config> read_coordinator_config(const std::string& path);

class store;
enum class possession;

class coordinator_service {
 public:
  // Goes on from what the store holds. `context` must outlive the service. Errors: invalid_argument, io (address in
  // use), those of open_store and cluster::restore.
  static result<std::unique_ptr<coordinator_service>> start(link_context& context, coordinator_config config);
  static result<std::unique_ptr<coordinator_service>> start(link_context& context, coordinator_config config,
                                                            std::shared_ptr<store> kept);
  ~coordinator_service();  // stops
  const std::string& address() const noexcept;         // bound addresses
  const std::string& events_address() const noexcept;
  // Whether the store is still this coordinator's. Once it is lost this one decides nothing more: stop it.
  possession held() const noexcept;
  void stop();

 private:
  struct impl;
  explicit coordinator_service(std::unique_ptr<impl> made);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast
