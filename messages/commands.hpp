// What the coordinator asks of a seat, and what a seat answers. An operation is a row of rounds: one command to each
// of a set of seats, then all their outcomes. A command carries a sequence number per seat; sending it again is
// harmless, because a seat remembers the outcomes it gave.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"

namespace ballast {

// A member of a communicator, with what it contributed when it opened its half (an address, an id).
struct comm_member {
  seat_id seat{};
  incarnation_t incarnation = 0;
  std::string contribution;
  bool operator==(const comm_member&) const = default;
};

// Where drained sessions may go.
struct session_target {
  seat_id seat{};
  std::string front_end;
  bool operator==(const session_target&) const = default;
};

namespace command {

// Get the dense weights (routers, norms, shared experts) of every model: from a peer, or from the checkpoint if none.
struct prepare { std::vector<page_source> sources; bool operator==(const prepare&) const = default; };
// Bring bundles into spare pages, verify them, enter them in the slot table. Done when every item is usable.
struct stage { std::vector<stage_item> items; bool operator==(const stage&) const = default; };
// Route by this placement from the next step boundary on. Done once it is in use (no older table can be read again here).
struct publish { placement table; bool operator==(const publish&) const = default; };
// Empty these slots; their pages are spare again. Sent only after every active seat's `publish` was done.
struct reclaim { std::vector<slot_ref> slots; bool operator==(const reclaim&) const = default; };
// Open this seat's half of communicator `epoch`. Outcome: the contribution the others need.
struct open_comm { epoch_t epoch = 0; bool operator==(const open_comm&) const = default; };
// Connect to the other members and run every collective once. Done when the warm collective was proven here.
struct connect_comm { epoch_t epoch = 0; std::vector<comm_member> members; bool operator==(const connect_comm&) const = default; };
// Show `epoch` as ready in the step header; when all members of the active communicator show it, all switch to it at the
// next step, with these tables. A joiner waits on `epoch` for the first header. A leaver stops stepping. Outcome: switched.
struct arm { epoch_t epoch = 0; bool member = true; std::vector<placement> tables; bool operator==(const arm&) const = default; };
// Stop showing `epoch` as ready. Outcome: switched or not, whichever is true; final either way.
struct disarm { epoch_t epoch = 0; bool operator==(const disarm&) const = default; };
// Done after `steps` good steps on the active communicator (a parked rank makes empty ones).
struct probation { epoch_t epoch = 0; std::uint32_t steps = 0; bool operator==(const probation&) const = default; };
// Give communicators up, all but `keep` (0: all); in the background.
struct close_comm { epoch_t keep = 0; bool operator==(const close_comm&) const = default; };
// Take no new sessions and hand the running ones to the targets, each at its own step boundary. Done when none is left.
struct drain { std::vector<session_target> targets; bool operator==(const drain&) const = default; };
// Accept sessions again.
struct undrain { bool operator==(const undrain&) const = default; };
// Break off: abort every communicator, give fetches up, keep sessions; interrupted steps run again later. Outcome: where
// this seat stopped.
struct halt { bool operator==(const halt&) const = default; };
// From halted or joining: step on `epoch`, starting with step number `first_step`, with these tables.
struct resume { epoch_t epoch = 0; step_t first_step = 1; std::vector<placement> tables; bool operator==(const resume&) const = default; };
// In probation: abort `epoch`, go back to the communicator before it and to these tables.
struct revert { epoch_t epoch = 0; step_t first_step = 1; std::vector<placement> tables; bool operator==(const revert&) const = default; };
// Synchronous mode: all active ranks stop together after an agreed step (any header that asks stops all). Done when stopped.
struct hold { bool operator==(const hold&) const = default; };
struct unhold { bool operator==(const unhold&) const = default; };
// Leave service: empty every page, forget tables and communicators; the seat is idle and may be used again.
struct release { bool operator==(const release&) const = default; };

}  // namespace command

using command_body =
    std::variant<command::prepare, command::stage, command::publish, command::reclaim, command::open_comm,
                 command::connect_comm, command::arm, command::disarm, command::probation, command::close_comm,
                 command::drain, command::undrain, command::halt, command::resume, command::revert, command::hold,
                 command::unhold, command::release>;

// Coordinator to agent, for one seat. `sequence` grows with every new command to the seat's incarnation.
struct seat_command {
  seat_id seat{};
  incarnation_t incarnation = 0;
  std::uint64_t sequence = 0;
  operation_id operation = 0;
  command_body body;
  bool operator==(const seat_command&) const = default;
};

// Agent to coordinator. Fields beyond `failure` are filled where the command's comment names them.
struct seat_outcome {
  seat_id seat{};
  incarnation_t incarnation = 0;
  std::uint64_t sequence = 0;
  operation_id operation = 0;
  bool ok = true;
  error failure{};
  step_t step = 0;            // last completed step of the seat when it answered
  epoch_t epoch = 0;          // communicator the seat steps on (0: none)
  bool switched = false;      // arm, disarm
  std::string contribution;   // open_comm
  std::uint64_t bytes = 0;    // stage, prepare: bytes that came over a link
  bool operator==(const seat_outcome&) const = default;
};

const char* command_name(const command_body& body) noexcept;  // "stage", "publish", … for logs and `status`

}  // namespace ballast
