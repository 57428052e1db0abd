#include <fmt/core.h>

#include "gpu/cuda/patience_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

fault_kind reported(fault_view* fault) {
  if (fault == nullptr || std::atomic_ref(fault->complete).load() == 0) return fault_none;
  return static_cast<fault_kind>(fault->kind);
}

bool is_own(fault_kind kind) { return kind == fault_wrong_expert || kind == fault_no_slot; }

}  // namespace

status wait_for(const event& done, host::host_communicator& links, stop_word stop, host::clock::time_point until,
                const wait_hooks& hooks) {
  const auto aborted = [&] {
    return fail(errc::aborted, fmt::format("communicator of epoch {} was aborted", links.epoch()));
  };
  constexpr auto look_around = std::chrono::microseconds(500);
  constexpr auto grace = std::chrono::seconds(10);  // for the GPU to come free once nothing is waited for any more
  auto next_look = host::clock::now() + look_around;
  status outcome;
  bool ending = false;
  for (;;) {
    auto passed = done.passed();
    if (!passed) return fail(passed.error());  // the GPU itself has failed: nothing more will pass
    if (*passed) break;
    const auto now = host::clock::now();
    if (now < next_look) continue;
    next_look = now + look_around;
    if (!outcome && now >= until)
      return fail(errc::io,
                  fmt::format("{}; and the GPU has not come free since: restart this agent", outcome.error().text));
    if (!outcome) continue;
    const auto fault = reported(hooks.fault);
    const bool faulty = fault != fault_none;
    if (is_own(fault) && hooks.tell) hooks.tell();
    outcome = links.alive();
    if (outcome && now >= until)
      outcome = fail(errc::timed_out, fmt::format("epoch {} step {}: the GPUs of the members did not finish in time",
                                                  links.epoch(), links.step()));
    if (outcome && hooks.unblock && !faulty && stop.raised()) outcome = aborted();
    if (!outcome || faulty) stop.raise();
    if (!outcome && hooks.unblock) hooks.unblock();
    if ((!outcome || faulty) && !ending) until = now + grace;
    ending = ending || !outcome || faulty;
  }
  const auto fault = reported(hooks.fault);
  if (outcome && stop.raised() && (hooks.fault == nullptr || fault == fault_stopped)) outcome = aborted();
  return outcome;
}

}  // namespace ballast::gpu::cuda
