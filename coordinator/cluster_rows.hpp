// The durable part of the cluster state as named rows of JSON, so that a coordinator that comes back goes on exactly
// from there. Pure.
//
//   schema             what these rows mean: a number
//   cluster            members, epochs, counters
//   clock              time, newest step and measures: saved along with anything else, never by themselves
//   seat/N, agent/NAME, model/N
//   layer/SUM          a layer of some placement, once, whoever names it
//   operation          the one that runs; operation/round: its commands and answers; operation/plan
//   queue, history, requests, unnamed
//
// Begins anew with every life: loads, what seats said with their beats, speeds, dry runs, shares being solved.
#pragma once

#include <cstdint>
#include <memory>

#include "coordinator/cluster_machine.hpp"
#include "coordinator/store.hpp"

namespace ballast::cluster {

// What changes from one call to the next. One thread.
class state_saver {
 public:
  explicit state_saver(rows saved = {});  // what the store holds
  state_saver(state_saver&&) noexcept;
  state_saver& operator=(state_saver&&) noexcept;
  ~state_saver();

  // Empty if nothing durable has changed since the last call. Costs little where little has.
  store_change changes(const cluster_state& state);

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

// Write-ahead: what a step lets out (commands, answers, events, lines of the journal) may leave only when what the step
// changed is saved. A step that lets nothing out may be saved together with a later one: if it is lost meanwhile, it is
// as if its input had been lost, which every sender repeats.
bool rests_on_state(const effect_body& e);
bool rests_on_state(const effects& out);

// The lines of the journal among them.
std::vector<journal_record> journal_of(const effects& out);

// The state that these rows are of; without any, that of a new deployment. Time goes on where it was saved, every seat
// that lived then has the patience of a fresh beat (and a second for its link to come back), and commands that were
// awaited are repeated as soon as their seat is heard. Errors: malformed (which row, and why), version_mismatch.
result<cluster_state> restore(const rows& saved, coordinator_config config);

}  // namespace ballast::cluster
