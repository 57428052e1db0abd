// The cluster state machine: `step(state, input) -> effects`. It owns seats, placements and the one running operation.
// No clock, sockets, threads or logs: time enters as `tick`, the coordinator actor and the simulator perform the
// effects.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/cluster_state.hpp"
#include "coordinator/store.hpp"
#include "coordinator/plans.hpp"
#include "messages/messages.hpp"

namespace ballast::cluster {

// One record of `record_stats`.
struct recorded_interval {
  load_interval loads;
  model_description model;
  std::uint32_t nodes = 0, redundant = 0;
};

namespace input {
struct message {
  std::string peer;
  envelope content;
};  // from an agent or an operator; `peer` is where answers go
struct connection {
  std::string peer;
  bool open = false;
};  // an agent's connection has begun, or was closed from its side: its process has ended, or connects anew at once
struct planned {
  std::uint64_t id = 0;
  result<plan> outcome;
};
struct tick {
  std::uint64_t now_ms = 0;
};  // never goes back
}  // namespace input
using input_body = std::variant<input::message, input::connection, input::planned, input::tick>;

namespace effect {
struct send {
  std::string peer;
  std::uint64_t id = 0;
  message_body body;
};  // id 0: not an answer, take a new one
struct request_plan {
  plan_request request;
};
struct publish {
  ballast::event what;
};
struct record {
  journal_record what;
};
struct record_loads {
  std::shared_ptr<const recorded_interval> what;
};
struct log_line {
  bool warning = false;
  std::string text;
};
}  // namespace effect
using effect_body = std::variant<effect::send, effect::request_plan, effect::publish, effect::record,
                                 effect::record_loads, effect::log_line>;
using effects = std::vector<effect_body>;

// Total: any message in any state is taken, refused or ignored; none is fatal.
effects step(cluster_state& state, const input_body& what);

}  // namespace ballast::cluster
