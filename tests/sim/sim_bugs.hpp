// Bugs that can be put back, one at a time, to see that the simulator finds them. Each is planted in what is simulated
// around the production machines: what they are told, or what becomes of what they say.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ballast::sim {

enum class bug : std::uint8_t {
  none,
  old_incarnation,       // a rank obeys commands to whoever had its seat before
  runs_twice,            // a command that comes again is carried out again
  unverified_stage,      // a stage is answered before its slots are entered
  early_reclaim,         // one seat's word that it uses a table counts for all
  keeps_pages,           // a released seat does not empty its slots
  skips_step,            // a rank that drains counts a step of its sessions that it did not make
  forgets_litter,        // a coordinator that comes back does not know of slots that no table names
  forgets_requests,      // a coordinator that comes back runs a repeated request once more
  effects_before_write,  // commands leave before what they rest on is saved
};

struct named_bug {
  std::string_view name;
  bug what;
};
inline constexpr std::array<named_bug, 9> bugs{{
    {"old-incarnation", bug::old_incarnation},
    {"runs-twice", bug::runs_twice},
    {"unverified-stage", bug::unverified_stage},
    {"early-reclaim", bug::early_reclaim},
    {"keeps-pages", bug::keeps_pages},
    {"skips-step", bug::skips_step},
    {"forgets-litter", bug::forgets_litter},
    {"forgets-requests", bug::forgets_requests},
    {"effects-before-write", bug::effects_before_write},
}};

inline std::optional<bug> find_bug(std::string_view name) {
  for (const auto& b : bugs)
    if (b.name == name) return b.what;
  return std::nullopt;
}

}  // namespace ballast::sim
