// A whole simulated deployment: the production cluster machine, agents with their ranks, an operator, and a network
// that loses, delays, repeats and reorders. One seed, one schedule.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "coordinator/cluster_machine.hpp"
#include "tests/sim/sim_rank.hpp"

namespace ballast::sim {

struct outcome {
  bool ok = true;
  std::string fault;               // which invariant, or what never ended
  std::vector<std::string> lines;  // newest trace lines, if traced
  std::uint64_t events = 0, steps = 0, operations = 0, losses = 0, share_updates = 0;
};

// Runs the schedule of `seed` to its end. Deterministic.
outcome run_schedule(std::uint64_t seed, bool tracing);

struct agent {
  std::uint32_t index = 0;
  hello greeting;
  bool alive = false;
  std::uint64_t quiet_until_us = 0;                // cannot send: looks dead from outside
  std::map<std::uint32_t, seat_assignment> seats;  // by local rank
  std::vector<std::unique_ptr<rank>> ranks;
  std::uint64_t life = 0;  // grows with every start
};

struct agent_message {
  std::uint32_t agent = 0;
  std::uint64_t life = 0;
  message_body body;
};

class world {
 public:
  world(std::uint64_t seed, bool tracing);
  outcome run();

 private:
  // sim_cluster.cpp: the deployment and its end
  void make_config();
  void make_models();
  void make_agents();
  void random_phase();
  void settle();
  bool quiet() const;
  void check_serving();

  // sim_network.cpp: agents, messages, the coordinator
  void start_agent(agent& a);
  void stop_agent(agent& a, bool comes_back);
  void agent_tick(std::uint32_t index, std::uint64_t life);
  void to_coordinator(agent& from, message_body body);
  void to_agent(std::uint32_t index, std::uint64_t life, const message_body& body);
  void coordinator_takes(const agent_message& m);
  void take(const ballast::cluster::input_body& what);
  void perform(ballast::cluster::effect_body& e);
  void tick();
  std::uint64_t delay_us();
  void fresh_ranks(agent& a);

  // sim_operator.cpp: what operators and faults do
  void operate();
  void disturb();
  void ask(message_body body);

  // sim_checks.cpp: the invariants
  void check_tables();
  void check_table(const rank& user, const placement& table);
  void check_at_rest();
  void check_share_update();
  void check_version(const placement& table);
  void check_fenced(const message_body& body, const ballast::cluster::effects& out);

  core sim_;
  fabric fabric_;
  std::uint64_t seed_;
  std::unique_ptr<ballast::cluster::cluster_state> state_;
  std::vector<agent> agents_;
  std::vector<model_description> models_;
  std::map<std::pair<model_index, version_t>, placement> given_out_;  // tables, as some seat was told to use them
  double loss_ = 0, repeat_ = 0, slow_message_ = 0, planner_failures_ = 0, deaths_ = 0, breaks_ = 0, quiets_ = 0;
  std::uint64_t delay_most_us_ = 5000;
  bool healed_ = false;
  std::uint64_t asked_ = 0, losses_ = 0;
};

}  // namespace ballast::sim
