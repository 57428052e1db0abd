// Everything that crosses a process boundary, apart from tokens and weights. The wire form is in codec.hpp; what each
// message means to a client in another language is in PROTOCOL.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "messages/commands.hpp"
#include "messages/result.hpp"
#include "messages/types.hpp"

namespace ballast {

// ---- agent <-> coordinator ------------------------------------------------------------------------------------

// What a model is, so that both ends can tell they mean the same one.
struct model_description {
  std::string name;
  std::string fingerprint;  // of shape and checkpoint; the same on every agent
  std::uint32_t layers = 0;
  std::uint32_t experts = 0;
  std::uint32_t groups = 1;
  std::uint64_t bundle_bytes = 0;
  std::uint32_t hidden = 0;  // values of one token's hidden state
  bool operator==(const model_description&) const = default;
};

// One rank an agent offers.
struct rank_offer {
  std::uint32_t local_rank = 0;
  std::string page_address;  // where peers pull pages from
  seat_capacity capacity;
  double speed = 1.0;        // measured, relative
  bool operator==(const rank_offer&) const = default;
};

// First message of an agent. `process` is drawn at start: the same name with another `process` is a new incarnation.
struct hello {
  std::string node;
  std::string agent;      // unique name of the agent in the deployment
  std::uint64_t process = 0;
  std::string front_end;  // address clients connect to
  std::vector<model_description> models;
  std::vector<rank_offer> ranks;
  bool operator==(const hello&) const = default;
};
struct seat_assignment {
  std::uint32_t local_rank = 0;
  seat_id seat{};
  incarnation_t incarnation = 0;
  bool operator==(const seat_assignment&) const = default;
};
struct welcome {
  std::vector<seat_assignment> seats;
  std::uint32_t heartbeat_ms = 100;
  std::uint32_t load_interval_steps = 8;  // expert_heat_collection_interval
  bool operator==(const welcome&) const = default;
};

// What a process refused since it began.
struct refusal_counts {
  std::string process;          // its name; in a heartbeat empty
  std::uint64_t unknown_key = 0;  // connections: of keys that are not on its list, or not for that socket
  std::uint64_t handshake = 0;    // connections: in the clear where keys are needed, with another server's key, …
  std::uint64_t unfinished = 0;   // connections: had not said who they are in time
  std::uint64_t cut_off = 0;      // connections: sent a frame over the limit or no frames, or fell silent
  std::uint64_t malformed = 0;    // messages: that do not decode
  std::uint64_t forbidden = 0;    // messages: not for that role to send
  std::uint64_t too_many = 0;     // messages: more a second than a peer may send
  std::uint64_t replayed = 0;     // messages: obeyed before, overtaken, or of an incarnation that is gone
  bool operator==(const refusal_counts&) const = default;
};

struct seat_beat {
  seat_id seat{};
  incarnation_t incarnation = 0;
  step_t step = 0;
  epoch_t epoch = 0;
  std::uint32_t sessions = 0;
  std::uint32_t tokens = 0;         // in the last step
  double step_ms = 0;               // mean over the last beat, 0 if it made none
  std::vector<version_t> versions;  // applied placement, by model
  std::uint32_t pages = 0;          // that are not spare
  std::uint64_t corrupt = 0;        // pulls (and pages kept) whose bytes were not those of the source, since the process began
  std::uint32_t stepping_ms = 0;    // that the step under way has taken so far; 0: none is
  bool operator==(const seat_beat&) const = default;
};
struct heartbeat {
  std::string agent;
  std::uint64_t process = 0;
  std::vector<seat_beat> seats;
  refusal_counts refused;
  bool operator==(const heartbeat&) const = default;
};
// Tokens that this seat's experts received in steps [first_step, last_step], counted after dispatch.
struct load_summary {
  seat_id seat{};
  incarnation_t incarnation = 0;
  model_index model = 0;
  step_t first_step = 0;
  step_t last_step = 0;
  load_matrix tokens;  // [layer][logical expert]
  double expert_ms = 0;  // that this seat spent in its experts meanwhile; 0: not measured
  bool operator==(const load_summary&) const = default;
};
// A rank saw its communicator fail (a peer gone, a collective timed out, a wrong expert named).
struct seat_trouble {
  seat_id seat{};
  incarnation_t incarnation = 0;
  epoch_t epoch = 0;
  error failure;
  bool operator==(const seat_trouble&) const = default;
};
// Incarnations no longer to be obeyed or answered.
struct fence {
  seat_id seat{};
  incarnation_t up_to = 0;
  std::uint64_t process = 0;  // that it answers, if that said who it is: taken for one that was replaced
  bool operator==(const fence&) const = default;
};

// ---- operator, client <-> coordinator -------------------------------------------------------------------------

struct get_status { bool operator==(const get_status&) const = default; };
struct model_status {
  std::string name;
  version_t version = 0;
  double imbalance_mean = 0, imbalance_max = 0, imbalance_min = 0;  // of the window, on the current placement
  double imbalance_before = 0;  // mean, just before the last placement change; 0 if none yet
  std::uint64_t window_steps = 0;
  std::uint32_t hidden = 0;     // values of one token's hidden state: what a request needs to know
  double imbalance_observed = 0;  // mean, of the tokens that the ranks really got lately; 0: none yet
  double imbalance_shares = 0;    // what the last share update was to bring that to; 0: none yet
  std::uint64_t share_updates = 0, share_skips = 0;  // tables with new shares; looks that found no gain worth one
  bool operator==(const model_status&) const = default;
};
struct seat_status {
  seat_id seat{};
  incarnation_t incarnation = 0;
  std::string agent, node, state;  // state: idle, joining, active, leaving, lost
  std::string front_end;
  step_t step = 0;
  std::uint32_t sessions = 0;
  std::uint32_t replicas = 0;
  double step_ms = 0;
  std::uint32_t pages = 0;    // in use, as it last said
  std::uint64_t corrupt = 0;  // pulls, and pages kept, that were caught with wrong bytes and made again
  bool operator==(const seat_status&) const = default;
};
struct operation_status {
  operation_id id = 0;
  std::string kind;                // rebalance, scale, replace
  std::string model;               // rebalance
  std::vector<seat_id> target;     // scale, replace: the seats to be active
  std::string phase;
  std::string outcome;             // running, done, aborted, failed
  std::string reason;              // why it was started, refused, aborted or failed
  std::vector<seat_id> awaited;    // seats whose outcome is awaited
  double seconds = 0;              // so far, or in all
  double imbalance_before = 0, imbalance_predicted = 0;
  std::uint64_t pages_copied = 0;
  std::uint64_t bytes_moved = 0;
  std::uint64_t first_step = 0, last_step = 0;
  bool operator==(const operation_status&) const = default;
};
struct cluster_status {
  epoch_t epoch = 0;
  std::uint64_t steps = 0;
  std::vector<model_status> models;
  std::vector<seat_status> seats;
  std::vector<operation_status> operations;  // open ones first, then the newest 32
  std::uint64_t event_sequence = 0;          // newest event covered by this status
  std::vector<refusal_counts> refused;       // the coordinator's, then each agent's as it last said
  bool operator==(const cluster_status&) const = default;
};

// Absolute target: `seats`, or if empty any `ranks` seats. `request` makes a repeat harmless: same request, same answer.
struct scale_request {
  std::string request;
  std::uint32_t ranks = 0;
  std::vector<seat_id> seats;
  bool join_first = false;
  std::uint32_t deadline_ms = 0;  // 0: the coordinator's default
  bool operator==(const scale_request&) const = default;
};
struct rebalance_request {
  std::string request;
  std::string model;    // empty: every model
  bool dry_run = false;
  bool force = false;   // also when it does not pay
  bool operator==(const rebalance_request&) const = default;
};
struct rebalance_preview {  // answer to a dry run
  std::string model;
  double imbalance_before = 0, imbalance_after = 0;
  std::uint64_t moves = 0, bytes = 0, waves = 0;
  bool pays = false;
  std::string explanation;
  bool operator==(const rebalance_preview&) const = default;
};
struct abort_request { operation_id operation = 0; bool operator==(const abort_request&) const = default; };
struct get_operations { bool operator==(const get_operations&) const = default; };
struct operation_list { std::vector<operation_status> operations; bool operator==(const operation_list&) const = default; };
struct accepted { operation_id operation = 0; bool operator==(const accepted&) const = default; };
struct refused { error failure; bool operator==(const refused&) const = default; };  // answer to any request
// Answer to anything by a coordinator that does not lead: ask the others. `leader`: the gateway of the one that does,
// as far as is known.
struct standby { std::string leader; bool operator==(const standby&) const = default; };

// Published to every watcher. Lossy by nature: a gap in `sequence` means: ask for the status.
struct event {
  std::uint64_t sequence = 0;
  std::string kind;  // operation, seat, imbalance, decision
  std::string text;
  std::vector<operation_status> operation;  // one, or none
  std::vector<seat_status> seats;           // those that changed
  bool operator==(const event&) const = default;
};

// ---- client <-> agent, agent <-> agent ------------------------------------------------------------------------

// Run `tokens` hidden states through the model, `steps` times, each output being the next input. Sending a request with
// the same id again attaches to it; `first_step` and `hidden` then say where the client stands.
struct inference_request {
  std::string id;
  std::string model;
  std::uint32_t tokens = 0;
  std::uint32_t steps = 0;        // in all
  std::uint32_t first_step = 0;   // steps whose output the client has
  std::vector<float> hidden;      // [tokens][hidden], input of first_step; little-endian f32 on the wire
  bool operator==(const inference_request&) const = default;
};
struct inference_output {
  std::string id;
  std::uint32_t step = 0;      // 0-based
  bool last = false;
  std::vector<float> hidden;   // [tokens][hidden]
  bool operator==(const inference_output&) const = default;
};
// The request now lives at another front end; go on there from `next_step`.
struct request_moved {
  std::string id;
  std::string front_end;
  std::uint32_t next_step = 0;
  bool operator==(const request_moved&) const = default;
};
struct request_refused { std::string id; error failure; bool operator==(const request_refused&) const = default; };
struct cancel_request { std::string id; bool operator==(const cancel_request&) const = default; };
struct session_handover {  // a drained rank's sessions, mid-stream; each as a request standing at first_step
  std::uint64_t handover = 0;
  std::vector<inference_request> sessions;
  bool operator==(const session_handover&) const = default;
};
struct handover_taken { std::uint64_t handover = 0; bool ok = true; bool operator==(const handover_taken&) const = default; };

// ---- the envelope ---------------------------------------------------------------------------------------------

using message_body =
    std::variant<hello, welcome, heartbeat, seat_command, seat_outcome, load_summary, seat_trouble, fence, get_status,
                 cluster_status, scale_request, rebalance_request, rebalance_preview, abort_request, get_operations,
                 operation_list, accepted, refused, event, inference_request, inference_output, request_moved,
                 request_refused, cancel_request, session_handover, handover_taken, standby>;

inline constexpr std::uint32_t protocol_version = 1;

struct envelope {
  std::uint64_t id = 0;        // the sender's; an answer repeats the id of what it answers
  std::string sender;          // name of the process, for logs
  message_body body;
  std::uint64_t term = 0;      // of a coordinator that leads in its turn; who has heard a higher one refuses it
  bool operator==(const envelope&) const = default;
};

const char* message_name(const message_body& body) noexcept;  // "hello", "seat_command", …: the wire's `type`

}  // namespace ballast
