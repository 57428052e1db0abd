// A seat's side of the protocol, as a value: commands and completions in, effects out. No threads, clock, memory or
// sockets: the rank actor performs the effects, and so does the simulator.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "agent/step_machine.hpp"
#include "messages/messages.hpp"

namespace ballast {

namespace rank_event {
struct commanded { seat_command command; };
// stage, prepare: all bundles are in pages and verified, or none is.
struct fetched { std::uint64_t sequence = 0; status outcome; std::uint64_t bytes = 0; };
struct opened { std::uint64_t sequence = 0; result<std::string> contribution; };
struct connected { std::uint64_t sequence = 0; epoch_t epoch = 0; status outcome; };
// The forward loop answered an order.
struct noticed { step_machine::notice notice; step_t step = 0; epoch_t epoch = 0; };
struct drained { std::uint64_t sequence = 0; };
// The forward loop's communicator failed.
struct comm_failed { epoch_t epoch = 0; error failure; };
struct beat {};  // it is time for a heartbeat
}  // namespace rank_event

using rank_event_body = std::variant<rank_event::commanded, rank_event::fetched, rank_event::opened, rank_event::connected,
                                     rank_event::noticed, rank_event::drained, rank_event::comm_failed,
                                     rank_event::beat>;

namespace rank_effect {
struct answer { seat_outcome outcome; bool again = false; };  // again: the command was carried out before
struct trouble { seat_trouble report; };
// Bring bundles into pages -> fetched. The pages stay with the sequence until `enter` or `discard`.
struct fetch { std::uint64_t sequence = 0; std::vector<stage_item> items; };
struct fetch_dense { std::uint64_t sequence = 0; std::vector<page_source> sources; };  // -> fetched
struct discard { std::uint64_t sequence = 0; };                                        // pages of a fetch are spare again
struct cancel_fetches {};
// To the forward loop, at its next boundary -> noticed.
struct enter { std::uint64_t sequence = 0; };  // write the fetched pages of `sequence` into the slot table
struct empty { std::uint64_t sequence = 0; std::vector<slot_ref> slots; };  // clear slots, give their pages back
struct empty_all { std::uint64_t sequence = 0; };  // every slot; then the order `release`
struct order { std::uint64_t sequence = 0; command_body body; };
// To the communicator builder.
struct open { std::uint64_t sequence = 0; epoch_t epoch = 0; };                                           // -> opened
struct connect { std::uint64_t sequence = 0; epoch_t epoch = 0; std::vector<comm_member> members; };      // -> connected
struct abort_comms {};                       // every communicator fails at once, builds under way too
struct abort_comm { epoch_t epoch = 0; };
struct drop_comms { epoch_t keep = 0; };     // destroy, in the background
// Sessions.
struct drain { std::uint64_t sequence = 0; std::vector<session_target> targets; };  // -> drained
struct undrain {};
}  // namespace rank_effect

using rank_effect_body =
    std::variant<rank_effect::answer, rank_effect::trouble, rank_effect::fetch, rank_effect::fetch_dense,
                 rank_effect::discard, rank_effect::cancel_fetches, rank_effect::enter, rank_effect::empty,
                 rank_effect::empty_all, rank_effect::order, rank_effect::open, rank_effect::connect,
                 rank_effect::abort_comms, rank_effect::abort_comm, rank_effect::drop_comms, rank_effect::drain,
                 rank_effect::undrain>;
using rank_effects = std::vector<rank_effect_body>;

class rank_machine {
 public:
  rank_machine(seat_id seat, incarnation_t incarnation) : seat_(seat), incarnation_(incarnation) {}

  rank_effects on(const rank_event_body& event);

  seat_id seat() const noexcept { return seat_; }
  incarnation_t incarnation() const noexcept { return incarnation_; }

  // Outcomes remembered, newest last; an older repeat is answered `fenced`.
  static constexpr std::size_t remembered_outcomes = 64;

 private:
  rank_effects begin(const seat_command& c);
  void handle(const rank_event::commanded& e, rank_effects& out);
  void handle(const rank_event::fetched& e, rank_effects& out);
  void handle(const rank_event::opened& e, rank_effects& out);
  void handle(const rank_event::connected& e, rank_effects& out);
  void handle(const rank_event::noticed& e, rank_effects& out);
  void handle(const rank_event::drained& e, rank_effects& out);
  void handle(const rank_event::comm_failed& e, rank_effects& out);
  void handle(const rank_event::beat& e, rank_effects& out);
  void begin_loop_order(const seat_command& c, rank_effects& out);
  bool needs_missing_comm(const command_body& body) const;
  seat_outcome outcome_of(const seat_command& c) const;
  void finish(std::uint64_t sequence, seat_outcome outcome, rank_effects& out);
  void finish_with(std::uint64_t sequence, const status& s, rank_effects& out);

  seat_id seat_{};
  incarnation_t incarnation_ = 0;
  std::uint64_t newest_ = 0;                         // highest sequence ever taken up
  step_t step_ = 0;                                  // as last heard from the loop
  epoch_t epoch_ = 0;
  std::map<std::uint64_t, seat_command> under_way_;  // bounded: a coordinator waits for outcomes before its next round
  std::deque<seat_outcome> outcomes_;
  std::map<std::uint64_t, std::uint64_t> bytes_;     // by sequence, of fetches whose slots are being entered
  std::set<epoch_t> connected_;
  std::optional<seat_trouble> trouble_;              // told with every beat until a command settles it
};

}  // namespace ballast
