// A whole simulated deployment: the production cluster machine, agents with their ranks, clients, an operator, and a
// network that loses, delays, repeats and reorders. One schedule, one course of events.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "coordinator/cluster_machine.hpp"
#include "coordinator/cluster_rows.hpp"
#include "coordinator/effect_gate.hpp"
#include "tests/sim/sim_front.hpp"
#include "tests/sim/sim_rank.hpp"
#include "tests/sim/sim_schedule.hpp"

namespace ballast::sim {

struct outcome {
  bool ok = true;
  std::string fault;               // which invariant, or what never ended
  std::vector<std::string> lines;  // newest trace lines, if traced
  std::uint64_t events = 0, steps = 0, operations = 0, losses = 0, share_updates = 0, answers = 0, deaths = 0;
};

// Runs a schedule to its end. Deterministic. Threads: any number of schedules side by side.
outcome run_schedule(const schedule& what, bool tracing, bug planted = bug::none);
outcome run_schedule(std::uint64_t seed, bool tracing);

// One direction between an agent and the coordinator.
struct direction {
  std::uint64_t cut_until_us = 0;
  bool keeps = false;  // what was sent meanwhile arrives afterwards
};

struct agent {
  std::uint32_t index = 0;
  hello greeting;
  bool alive = false;
  direction up, down;
  std::map<std::uint32_t, seat_assignment> seats;  // by local rank
  std::vector<std::unique_ptr<rank>> ranks;
  std::unique_ptr<front> clients;
  std::uint64_t life = 0;  // grows with every start
  bool returns = false;    // dead, but not for ever
};

struct agent_message {
  std::uint32_t agent = 0;
  std::uint64_t life = 0, to_life = 0;  // of the sender; of the coordinator
  message_body body;
};

// At the next but so many writes: what it was to save is lost, or what was to leave after it.
enum class death : std::uint8_t { none, before_write, after_write };

struct client {
  std::string id;
  model_index model = 0;
  std::uint32_t steps = 0, next = 0;
  std::vector<std::vector<float>> states;  // input, and what every step has to make of it
  std::uint64_t heard_us = 0;
  dice roll{0};
};

// What an operator asked for, until it is answered.
struct asking {
  message_body body;
  std::uint32_t tries_left = 0;
  bool answered = false;
};

inline constexpr std::uint32_t calm_slowness = 4;  // fewer steps to wait through until all is quiet

struct weather {
  double loss = 0, repeat = 0, slow = 0;
  std::uint64_t delay_most_us = 4 * ms;
};

class world {
 public:
  world(const schedule& what, bool tracing, bug planted);
  outcome run();

 private:
  // sim_cluster.cpp: the deployment and its end
  void make_agents();
  void random_phase();
  void settle();
  void come_to_rest();
  bool quiet() const;
  std::string unrest() const;
  void check_serving();
  void check_restart();

  // sim_agents.cpp: agents live and die
  void start_agent(agent& a);
  void stop_agent(agent& a, std::uint64_t back_after_us);  // 0: it does not come back
  void agent_tick(std::uint32_t index, std::uint64_t life);
  void fresh_ranks(agent& a);
  void break_communicators(const rank& gone);
  void to_agent(std::uint32_t index, std::uint64_t life, const message_body& body);
  void welcomed(agent& a, const welcome& w);
  void fenced(agent& a, const fence& f);

  // sim_network.cpp: messages
  std::uint64_t delay_us();
  std::uint64_t held_us(const direction& on);
  void to_coordinator(agent& from, message_body body);
  void send_to_agent(std::uint32_t index, std::uint64_t life, message_body body);
  bool swallowed(const message_body& body);

  // sim_coordinator.cpp: the coordinator's process
  void coordinator_takes(const agent_message& m);
  void speak_for_all(const message_body& body);
  void take(const cluster::input_body& what);
  void release(cluster::effects out);
  void perform(cluster::effect_body& e);
  void ask_planner(cluster::plan_request request);
  void answer_operator(std::uint64_t id, const message_body& body);
  void tick();

  // sim_disk.cpp: what it has saved, and its death
  void advance();
  void write(const std::shared_ptr<const store_change>& change);
  void written(const store_change& change);
  void coordinator_dies();
  void coordinator_returns();

  // sim_incidents.cpp: what operators and faults do
  void happen(const incident& i);
  void operate(const incident& i, dice roll);
  void hit_agent(const incident& i, dice roll);
  void hit_links(const incident& i, dice roll);
  void hit_coordinator(const incident& i, dice roll);
  void ask(message_body body, std::uint32_t tries);
  void ask_again(std::uint64_t id);
  void for_a_while(std::uint64_t us, double& what, double is);
  void mend(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& cuts);
  void calm_down();

  // sim_clients.cpp: requests and their answers
  void open_request(dice roll);
  void watch_request(std::size_t index);
  void send_request(client& c, std::uint32_t to);
  void to_client(const std::string& id, message_body body);
  void client_takes(client& c, const message_body& body);
  void open_front(agent& a);
  void sessions_leave(rank& r, std::uint64_t drain, std::vector<session> sessions, std::vector<session_target> targets);

  // sim_checks.cpp: the invariants
  void check_tables();
  void check_table(const rank& user, const placement& table);
  void check_at_rest();
  void check_seat_at_rest(const rank& r);
  void check_share_update();
  void check_version(const placement& table);
  void check_fenced(const message_body& body, const cluster::effects& out);
  void check_explained();
  void check_explained(const rank& r, const cluster::seat_record& saved);

  core sim_;
  const schedule what_;
  const std::vector<model_description>& models_;
  fabric fabric_;
  std::vector<agent> agents_;
  std::unique_ptr<cluster::cluster_state> state_;
  coordinator_config config_;
  std::uint64_t clock_ms_ = 0, stands_until_us_ = 0;  // the coordinator's clock
  const bool durable_;                                // some incident asks for what is saved
  rows disk_;
  cluster::state_saver saver_;
  cluster::effect_gate gate_;  // holds effects back until they may leave
  bool coordinator_up_ = true, writing_ = false;
  std::uint64_t held_until_us_ = 0;  // then the last kept message arrives
  std::uint64_t coordinator_life_ = 0, disk_slow_until_us_ = 0, dead_for_us_ = 0;
  death death_due_ = death::none;
  std::uint64_t writes_until_death_ = 0;
  std::vector<agent_message> held_;  // at their senders, while there is no coordinator
  std::deque<client> clients_;
  std::map<std::uint64_t, asking> asked_;                             // by message id
  std::map<std::string, operation_id> accepted_;                      // by request: a repeat gets the same answer
  std::map<std::pair<model_index, version_t>, placement> given_out_;  // tables, as some seat was told to use them
  std::set<std::pair<epoch_t, const placement*>> checked_;            // good as long as no slot is emptied
  std::uint64_t checked_at_ = 0;                                      // so many had been emptied
  weather weather_;
  double planner_failures_ = 0;
  std::uint32_t outcomes_to_lose_ = 0;
  bool healed_ = false;
  std::uint64_t losses_ = 0, answers_ = 0, deaths_ = 0, next_id_ = 0;
};

}  // namespace ballast::sim
