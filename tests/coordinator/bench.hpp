// The pure cluster machine on a bench: agents that answer when told to, a planner that works at once, time by hand.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/cluster_machine.hpp"
#include "coordinator/cluster_parts.hpp"
#include "coordinator/cluster_rows.hpp"

namespace ballast::cluster::test {

struct bench {
  explicit bench(coordinator_config c = default_config()) : state(std::move(c)) {}

  static coordinator_config default_config();
  // 1 model, 2 layers of `experts` experts; every seat holds `slots` a layer and 2 spare pages.
  std::uint32_t experts = 8, slots = 4;

  void join(std::uint32_t agent);  // one rank each; the seat is the order of joining
  void join_all(std::uint32_t agents);
  hello greeting(std::uint32_t agent) const;  // of its newest process
  void say(std::uint32_t agent, message_body body);    // to the coordinator
  std::optional<message_body> ask(message_body body);  // as an operator: the answer
  operation_id accepted_id(message_body body);
  std::string refusal(message_body body);
  void pass(std::uint64_t ms);  // time, with heartbeats of the living agents
  void kill(std::uint32_t agent) { dead.insert(agent); }
  void hang(std::uint32_t agent) { hung[agent] = now; }  // its step does, the heartbeats go on
  void lose(std::uint32_t agent);  // dies and is missed
  void connection(std::uint32_t agent, bool open);

  // Answers one command that waits at `seat`.
  void answer(seat_id seat, bool ok = true, const std::string& why = "cannot");
  void answer_all();  // of the living, until nobody is asked anything
  // Answers until the running operation is in `wanted` with commands out. False: it ended before.
  bool run_to(phase wanted);
  void heat();  // loads under which the first seat has most to do
  std::size_t unnamed_slots() const;
  bool at(phase p) const {
    return state.running && !state.running->program.empty() && state.running->program.front() == p;
  }

  operation_status ended(operation_id id) const;  // of the history
  std::vector<std::uint32_t> members() const;
  bool legal() const;  // the table in use covers everything on members only

  // What becomes of the coordinator's process. Where it is saved, effects leave after what they rest on.
  enum class life {
    unsaved,
    saved,    // and ends where `dies_at` says
    restored  // saved and restored after every step, losing only what no store keeps
  };
  life lives = default_life();
  std::uint64_t writes = 0;   // to the store, by all lives
  std::uint64_t dies_at = 0;  // at this write; 0: never
  bool dies_before = false;   // it, or right after: what was to leave is lost either way
  memory_store kept;

  cluster_state state;
  std::map<seat_id, std::deque<seat_command>> waiting;  // newest of each sequence
  std::vector<std::pair<std::string, message_body>> sent;
  std::vector<ballast::event> events;
  std::set<std::uint32_t> dead;
  std::map<std::uint32_t, std::uint64_t> hung;  // since when
  std::set<std::string> seen;
  bool switched = true;  // what arm and disarm answer
  bool planner_works = true;
  std::uint64_t now = 0;

 private:
  static life default_life();  // `restored` where the environment says BALLAST_TEST_RESTORED
  bool save(const effects& out);  // false: the process died of it
  void restart();
  void carry_over(cluster_state old);
  void feed(const input_body& what);
  void take(effect_body& e);
  std::uint32_t agents_ = 0;
  std::map<std::uint32_t, std::uint64_t> process_;
  std::uint64_t asked_ = 0;
  std::map<std::uint64_t, message_body> answers_;
  std::deque<plan_request> plans_;  // asked for, not made yet
  state_saver saver_;
  std::uint64_t stood_still_ = 0;  // time that no coordinator counted
};

// Seats 0, 1, 2 serve; the others that joined are idle.
inline bench serving(std::uint32_t joined = 4, const coordinator_config& c = bench::default_config()) {
  bench b(c);
  b.join_all(joined);
  b.answer_all();
  b.seen.clear();
  return b;
}

inline scale_request scale_to(std::uint32_t ranks, const std::string& request = {}) {
  scale_request r;
  r.request = request;
  r.ranks = ranks;
  return r;
}
inline scale_request scale_seats(const std::vector<std::uint32_t>& seats) {
  scale_request r;
  for (const auto s : seats) r.seats.push_back(static_cast<seat_id>(s));
  return r;
}
inline rebalance_request forced_rebalance() {
  rebalance_request r;
  r.force = true;
  return r;
}

}  // namespace ballast::cluster::test
