// The expert-parallel communicator of one rank: step headers, and (inside a backend) dispatch and combine.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"

namespace ballast::gpu {

// What every rank tells every other at the start of a step. The same data gives the same decision on every rank.
struct step_header {
  step_t step = 0;
  epoch_t ready_epoch = 0;                        // standby communicator this rank is ready to switch to
  std::array<std::uint32_t, max_models> tokens{}; // of this step, by model
  std::array<version_t, max_models> versions{};   // newest placement that this rank can route by, by model
  std::uint32_t flags = 0;                        // header_flag
};
enum header_flag : std::uint32_t { header_hold = 1 };  // stop together after this step

// Threads: all functions on the rank's issuing thread, except wake() and abort(), which any thread may call.
// Failure: after an error every later call answers the same error; the communicator can only be destroyed.
class communicator {
 public:
  virtual ~communicator() = default;
  virtual epoch_t epoch() const noexcept = 0;
  virtual std::uint32_t rank() const noexcept = 0;                     // position of this seat among members()
  virtual const std::vector<seat_id>& members() const noexcept = 0;    // sorted

  // Parks until a peer has begun a step (true) or wake() was called (false). Costs no CPU. Errors: aborted, unavailable.
  virtual result<bool> wait_for_peer() = 0;
  // True when a peer has begun the next step already; never waits.
  virtual bool peer_has_begun() = 0;
  // The step number a peer has begun, if peer_has_begun(): a joiner takes its first step number from it.
  virtual step_t peer_step() const = 0;

  // Exchanges headers with all members; out[rank] in member order. Waits for every member. Errors: aborted, timed_out,
  // corrupt (a member at another step).
  virtual status exchange_headers(const step_header& mine, std::span<step_header> out) = 0;

  virtual void wake() noexcept = 0;
  virtual void abort() noexcept = 0;  // every waiting and later call answers `aborted`
};

// Builds communicators in the background, in two halves so that members can learn each other's contribution.
// Threads: one builder thread, never the issuing thread.
class communicator_builder {
 public:
  virtual ~communicator_builder() = default;
  // This seat's half of `epoch`: what the other members need to know.
  virtual result<std::string> open(epoch_t epoch) = 0;
  struct member {
    seat_id seat{};
    std::string contribution;
  };
  // Connects to all members (sorted by seat, this seat among them), runs and checks every collective once, and gives the
  // communicator to the caller. Errors: timed_out, aborted, corrupt.
  virtual result<std::unique_ptr<communicator>> connect(epoch_t epoch, seat_id self, const std::vector<member>& members,
                                                        std::chrono::milliseconds deadline) = 0;
  // Forgets the half opened for `epoch`; a connect under way answers `aborted`. Any thread; an open() that has not
  // returned yet is not undone: call it again from the builder thread, too.
  virtual void cancel(epoch_t epoch) noexcept = 0;
};

}  // namespace ballast::gpu
