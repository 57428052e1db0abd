// When pieces of weights and their checksums go so that they are least in the way of steps.
#pragma once

#include <chrono>
#include <cstdint>

namespace ballast::gpu::cuda {

// Where in a layer a step is: the lowest two bits of a word that steps change, layers counted above them. Experts read
// memory as fast as it goes, hardly use the links and suffer a little when pieces pass; tokens on their way between
// ranks would stand behind the pieces, but leave memory idle: the time to sum what has arrived.
enum step_phase : std::uint32_t {
  phase_experts = 1,
  phase_closing = 2,  // a piece that begins now would reach into the tokens' time
  phase_lull = 3,
};

// One thread; no clock. Nothing waits long: a pace is kept whatever steps do.
class step_rhythm {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::microseconds patience{400};  // less than pace::catch_up: what waits is made up for

  void look(std::uint32_t word) noexcept {
    if (word != word_) steps_run_ = true;
    word_ = word;
  }
  // By what was seen last: may a piece that is due at `due` go?
  bool may_copy(time_point due, time_point now) noexcept {
    if (now < due) return false;
    if (steps_run_ && phase() != phase_experts && now - due < patience) return false;
    if (phase() != phase_experts) steps_run_ = false;  // or layers are so long that it makes no difference
    return true;
  }
  bool in_lull() const noexcept { return steps_run_ && phase() == phase_lull; }
  // After may_copy() said no: until when nobody needs to look again. Phases are short: who waits for one spins.
  time_point look_again_at(time_point due) const noexcept {
    constexpr std::chrono::microseconds wakes_late{150};
    return steps_run_ ? due - wakes_late : due;
  }

 private:
  step_phase phase() const noexcept { return static_cast<step_phase>(word_ & 3); }

  std::uint32_t word_ = 0;
  bool steps_run_ = false;
};

}  // namespace ballast::gpu::cuda
