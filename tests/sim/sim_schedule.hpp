// A schedule as data: a deployment and what happens to it, drawn from a seed. Any part of the list is a schedule too,
// so a failing one can be made small.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/service.hpp"
#include "messages/messages.hpp"

namespace ballast::sim {

enum class incident_kind : std::uint8_t {
  // what operators and clients do
  scale,
  rebalance,
  abort,
  look,
  request,  // of a client
  // what goes wrong, for a while or once
  weather,      // messages between agents, clients and coordinator are lost, late, repeated
  agent_dies,   // a process with all its ranks; mostly it comes back
  rank_hangs,   // one rank does nothing any more, its process lives on
  link_breaks,  // of a communicator
  cut_control,  // between an agent and the coordinator; one way or both
  cut_data,     // between two agents: steps, warm collectives, pulls, hand-overs; one way or both
  slow_rank,
  idle_rank,      // has no load of its own
  slow_disk,      // the coordinator's writes take long
  clock_leaps,    // the coordinator's, forward
  clock_stands,   // the coordinator's
  outcomes_lost,  // of switches and publishes that took effect
  planner_ill,
  pulls_fail,
  builds_fail,  // of communicators
  coordinator_dies,
};
inline constexpr std::size_t incident_kinds = 21;
const char* to_string(incident_kind k) noexcept;

struct incident {
  std::uint32_t number = 0;  // in the list that the seed draws
  std::uint64_t at_us = 0, for_us = 0;
  incident_kind what = incident_kind::look;
  std::uint64_t detail = 0;  // dice of its own: whom it hits does not depend on what else is in the list
};

struct deployment {
  coordinator_config config;
  std::vector<model_description> models;
  std::vector<hello> agents;
  std::uint64_t random_us = 0;  // then all is well, and everything begun has to end
};

struct schedule {
  std::uint64_t seed = 0;
  deployment where;
  std::vector<incident> incidents;  // by time
};

schedule draw(std::uint64_t seed);

// The part of a schedule that is left: these incidents, and the first so many agents.
struct part {
  std::optional<std::vector<std::uint32_t>> keep;  // numbers; none: all
  std::size_t agents = ~std::size_t{0};
};
schedule only(schedule whole, const part& of);

}  // namespace ballast::sim
