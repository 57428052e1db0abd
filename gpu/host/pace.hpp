// How fast bytes may come.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ballast::gpu::host {

// Spreads requests over time so that no more than `bytes_per_s` are asked for in the long run (0: no limit). What was
// asked for late, because a timer woke late, is made up for, but no more than `catch_up` of it. One thread; no clock.
class pace {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::microseconds catch_up{500};

  explicit pace(std::uint64_t bytes_per_s) : bytes_per_s_(bytes_per_s) {}
  bool limited() const noexcept { return bytes_per_s_ > 0; }
  std::uint64_t bytes_per_s() const noexcept { return bytes_per_s_; }
  time_point next() const noexcept { return next_; }  // not before this
  void spend(std::size_t bytes, time_point now) noexcept {
    if (!limited()) return;
    const auto cost = std::min(1e9 * static_cast<double>(bytes) / static_cast<double>(bytes_per_s_), 1e18);
    next_ = std::max(next_, now - catch_up) + std::chrono::nanoseconds(static_cast<std::int64_t>(cost));
  }
  void reset(time_point now) noexcept { next_ = std::min(next_, now); }  // what was asked for will not come

 private:
  const std::uint64_t bytes_per_s_;
  time_point next_{};
};

}  // namespace ballast::gpu::host
