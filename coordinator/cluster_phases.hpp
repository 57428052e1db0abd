// The phases that operations are made of, and what each does when something goes wrong: the state machine as a table.
// README.md draws it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace ballast::cluster {

enum class phase : std::uint8_t {
  planning,         // the planner is at work
  preparing,        // joiners get dense weights
  staging,          // replicas are brought in that no table names yet
  draining,         // leavers hand their sessions over
  holding,          // synchronous mode: all stop
  wave_staging,     // a wave's adds
  wave_publishing,  // all members take the wave's table
  wave_reclaiming,  // the wave's drops
  opening,          // halves of a communicator
  connecting,       // and the warm collective on it
  switching,        // armed: all switch at the same step
  probation,        // good steps on the new communicator
  closing,          // the old one is given up
  unholding,
  releasing,  // leavers and unused joiners become idle
  // the way back, before the commit point
  disarming,
  dropping,  // the standby communicator is given up
  undraining,
  cleaning,  // slots that no table names are emptied
  // in probation
  reverting,  // back to the communicator before
  // a loss
  halting,   // everybody stops; after a revert: the joiners do
  resuming,  // all step on the new communicator
};
inline constexpr std::size_t phase_count = 22;

// What becomes of the operation.
enum class reaction : std::uint8_t {
  undo,       // go the way back; the operation ends aborted. In a replace: start it over
  disarm,     // ask whether the switch happened, then go on or go the way back
  take_back,  // revert to the communicator and tables before the switch
  wave_end,   // finish the wave, then go the way back
  again,      // send it once more as a new command; a seat that fails it three times is lost
  recover,    // halt everybody and go on with those that answer
  lose,       // the seats that did not answer are lost
  refuse,     // abort only: past the commit point, or on the way back already
};

struct phase_row {
  phase at;
  std::string_view name;
  reaction on_failure;   // a seat answered that it could not
  reaction on_abort;     // an operator asked
  reaction on_deadline;  // of the operation before its commit point, of the round after it
  reaction on_trouble;   // a communicator failed and nobody is known to be lost
  bool own_deadline;     // the round has its own; otherwise the operation's counts
};

// clang-format off
inline constexpr std::array<phase_row, phase_count> phase_table{{
  // phase                   name                 failure              abort               deadline             trouble              own deadline
  {phase::planning,        "planning",        reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::preparing,       "preparing",       reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::staging,         "staging",         reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::draining,        "draining",        reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::holding,         "holding",         reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::wave_staging,    "staging wave",    reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::wave_publishing, "publishing wave", reaction::again,     reaction::wave_end, reaction::recover,   reaction::recover,   true},
  {phase::wave_reclaiming, "reclaiming wave", reaction::again,     reaction::wave_end, reaction::recover,   reaction::recover,   true},
  {phase::opening,         "opening",         reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::connecting,      "connecting",      reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
  {phase::switching,       "switching",       reaction::disarm,    reaction::disarm,   reaction::disarm,    reaction::recover,   false},
  {phase::probation,       "probation",       reaction::take_back, reaction::refuse,   reaction::take_back, reaction::take_back, true},
  {phase::closing,         "closing",         reaction::again,     reaction::refuse,   reaction::lose,      reaction::recover,   true},
  {phase::unholding,       "unholding",       reaction::again,     reaction::refuse,   reaction::lose,      reaction::recover,   true},
  {phase::releasing,       "releasing",       reaction::again,     reaction::refuse,   reaction::lose,      reaction::recover,   true},
  {phase::disarming,       "disarming",       reaction::recover,   reaction::refuse,   reaction::recover,   reaction::recover,   true},
  {phase::dropping,        "dropping",        reaction::again,     reaction::refuse,   reaction::lose,      reaction::recover,   true},
  {phase::undraining,      "undraining",      reaction::again,     reaction::refuse,   reaction::lose,      reaction::recover,   true},
  {phase::cleaning,        "cleaning",        reaction::again,     reaction::refuse,   reaction::lose,      reaction::recover,   true},
  {phase::reverting,       "reverting",       reaction::recover,   reaction::refuse,   reaction::recover,   reaction::recover,   true},
  {phase::halting,         "halting",         reaction::again,     reaction::refuse,   reaction::lose,      reaction::recover,   true},
  {phase::resuming,        "resuming",        reaction::undo,      reaction::undo,     reaction::undo,      reaction::recover,   false},
}};
// clang-format on

constexpr bool every_phase_has_its_row() {
  for (std::size_t i = 0; i < phase_count; ++i)
    if (static_cast<std::size_t>(phase_table[i].at) != i) return false;
  return true;
}
// On the way back nothing leads to the way back again: an undo always ends.
constexpr bool the_way_back_ends() {
  for (const auto& r : phase_table)
    if (r.at >= phase::disarming && r.at <= phase::halting &&
        (r.on_failure == reaction::undo || r.on_deadline == reaction::undo))
      return false;
  return true;
}
static_assert(every_phase_has_its_row());
static_assert(the_way_back_ends());

constexpr const phase_row& row_of(phase p) { return phase_table[static_cast<std::size_t>(p)]; }

// What each kind of operation goes through. A phase without anything to do (no joiners, no leavers, no moves,
// asynchronous mode) is passed at once; the three wave phases repeat for every wave.
namespace program {
using enum phase;
inline constexpr std::array start{cleaning, planning, preparing, staging, opening, connecting, resuming};
inline constexpr std::array rebalance{cleaning,        planning,        holding,  wave_staging,
                                      wave_publishing, wave_reclaiming, unholding};
inline constexpr std::array shares{wave_publishing};
inline constexpr std::array grow{cleaning,  planning,  preparing, staging,      opening,         connecting,
                                 switching, probation, closing,   wave_staging, wave_publishing, wave_reclaiming};
inline constexpr std::array shrink{cleaning, planning,   draining,  wave_staging, wave_publishing, wave_reclaiming,
                                   opening,  connecting, switching, probation,    closing,         releasing};
inline constexpr std::array replace{halting,    planning, cleaning, staging,  opening,
                                    connecting, resuming, closing,  releasing};
// Twice unholding: a member that has let go may still be held by what another one announced in a step before it let go itself.
inline constexpr std::array undo{disarming, dropping, releasing, undraining, cleaning, unholding, unholding};
inline constexpr std::array undo_start{halting, releasing};  // some may step already
inline constexpr std::array give_up{halting, releasing};     // out of service; joiners may step still
inline constexpr std::array take_back{reverting, halting, releasing, undraining, cleaning};
}  // namespace program

template <class T>
std::vector<phase> to_program(const T& phases) {
  return {phases.begin(), phases.end()};
}

}  // namespace ballast::cluster
