// Every actor of an agent and what it takes; included by the actors' own .cpp files only. Payloads are shared and
// immutable, so nothing is copied or serialised inside a process.
#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/replies_to.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <memory>
#include <string>
#include <vector>

#include "agent/rank_unit.hpp"
#include "messages/handed_over.hpp"
#include "messages/messages.hpp"

namespace ballast {

// Wrapped, so that every message has a type of its own.
struct rank_note { handed_over<const rank_event_body> event; };
struct seated { seat_id seat{}; incarnation_t incarnation = 0; std::uint32_t load_interval_steps = 8; };
struct unseated {};                       // fenced, or the agent stops: forget everything
struct fetched_note { handed_over<fetch_result> what; };
struct exported_note { std::uint64_t sequence = 0; handed_over<std::vector<session>> sessions; };
struct loads_note { handed_over<load_summary> loads; };
struct fetch_note { handed_over<const fetch_job> job; };
struct open_note { std::uint64_t sequence = 0; epoch_t epoch = 0; };
struct connect_note { std::uint64_t sequence = 0; epoch_t epoch = 0; seat_id self{}; handed_over<const std::vector<comm_member>> members; };
struct cancel_note { epoch_t epoch = 0; };  // after all that was asked for this epoch
struct discard_note { handed_over<discarded_things> what; };
struct node_note { handed_over<const envelope> message; };
struct tick_note {};

// A rank: performs what its rank_machine decides. Scheduled; never blocks.
using rank_actor = caf::typed_actor<caf::reacts_to<seated>, caf::reacts_to<unseated>, caf::reacts_to<rank_note>,
                                    caf::reacts_to<fetched_note>, caf::reacts_to<exported_note>, caf::reacts_to<loads_note>,
                                    caf::reacts_to<discard_note>>;
// Brings weights in. Detached: it blocks on links and files.
using transfer_actor = caf::typed_actor<caf::reacts_to<fetch_note>>;
// Opens, connects and destroys communicators. Detached: all of these block.
using builder_actor = caf::typed_actor<caf::reacts_to<open_note>, caf::reacts_to<connect_note>, caf::reacts_to<cancel_note>,
                                       caf::reacts_to<discard_note>>;
// The agent: speaks with the coordinator for all its ranks. Scheduled; never blocks.
using node_actor = caf::typed_actor<caf::reacts_to<node_note>, caf::reacts_to<tick_note>>;

struct node_setup {
  hello greeting;
  std::vector<rank_unit*> units;
  std::vector<rank_actor> ranks;
  front_end* clients = nullptr;
  std::function<void(message_body)> uplink;
  std::function<void(error)> on_refused;
};

rank_actor spawn_rank(caf::actor_system& system, rank_unit& unit);
node_actor spawn_node(caf::actor_system& system, node_setup setup);
// What the loop tells is passed on to its rank's actors.
loop_listener listener_for(const rank_actor& rank, front_end& clients);

transfer_actor spawn_transfer(caf::actor_system& system, rank_unit& unit, const rank_actor& rank);
builder_actor spawn_builder(caf::actor_system& system, rank_unit& unit, const rank_actor& rank);

}  // namespace ballast

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::rank_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::seated)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::unseated)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::fetched_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::exported_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::loads_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::fetch_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::open_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::connect_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::cancel_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::discard_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::node_note)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ballast::tick_note)
