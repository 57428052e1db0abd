// What the ranks of a simulated cluster share: communicators, the links between agents, and the world around them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/sessions.hpp"
#include "gpu/communicator.hpp"
#include "messages/messages.hpp"
#include "tests/sim/sim_bugs.hpp"
#include "tests/sim/sim_core.hpp"

namespace ballast::sim {

class rank;

// A communicator as all its members see it together.
struct communicator {
  std::vector<comm_member> members;             // as the first to connect named them
  std::set<seat_id> connecting;                 // waiting for the others
  std::map<seat_id, gpu::step_header> present;  // headers of the step under way
  bool broken = false;
};

struct fabric {
  fabric(core& c, const std::vector<model_description>& served) : sim(c), models(served) {}

  // Whoever is seated and not hung.
  rank* find(const comm_member& m) const;
  bool cut(std::uint32_t from, std::uint32_t to) const {  // between agents
    return !cuts.empty() && cuts.contains({from, to});
  }
  // Ranks mostly get equal tables: they share one.
  std::shared_ptr<const placement> shared_table(const placement& table);

  core& sim;
  const std::vector<model_description>& models;
  std::map<epoch_t, communicator> comms;
  std::map<std::pair<seat_id, incarnation_t>, rank*> seated;
  std::set<std::pair<std::uint32_t, std::uint32_t>> cuts;  // from one agent to another
  std::map<std::pair<model_index, version_t>, std::shared_ptr<const placement>> tables;
  std::function<void(rank&, message_body)> uplink;
  std::function<void(rank&, session_output)> output;
  std::function<void(rank&, std::uint64_t drain, std::vector<session>, std::vector<session_target>)> exported;
  bool changed = false;       // tables in use changed: the invariants are to be checked
  std::uint64_t emptied = 0;  // slots ever
  std::uint64_t collective_timeout_us = 1'500'000;
  double pull_failures = 0, build_failures = 0;
  bug planted = bug::none;
};

// What a token becomes at its expert. Weights at the wrong place give a wrong answer.
inline std::uint32_t expert_of(std::uint32_t token, std::uint32_t layer, std::uint32_t experts) {
  return (token + layer * 5) % experts;
}
inline std::uint32_t through_expert(std::uint32_t token, std::uint32_t layer, std::uint32_t expert) {
  return (token * 33 + expert * 7 + layer + 1) % 65521;
}

}  // namespace ballast::sim
