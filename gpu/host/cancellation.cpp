#include <poll.h>

#include <algorithm>

#include "gpu/host/cancellation_impl.hpp"

namespace ballast::gpu::host {

void cancellation::cancel() noexcept {
  const std::lock_guard lock(mutex_);
  if (!under_way_) return;
  cancelled_ = true;
  bell_.ring();
}

void cancellation::set(bool under_way) noexcept {
  const std::lock_guard lock(mutex_);
  under_way_ = under_way;
  cancelled_ = false;
  bell_.quiet();
}

bool cancellation::wait_until(clock::time_point until) noexcept {
  while (!cancelled()) {
    const auto left = std::chrono::nanoseconds(until - clock::now()).count();
    if (left <= 0) return false;
    constexpr std::int64_t second = 1'000'000'000;
    const timespec timeout{left / second, left % second};
    pollfd ringing{bell_.fd(), POLLIN, 0};
    if (::ppoll(&ringing, 1, &timeout, nullptr) > 0) bell_.quiet();
  }
  return true;
}

}  // namespace ballast::gpu::host
