// Of what goes wrong again and again one line a second is logged, with how often it did since the line before.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace ballast {

// One kind of complaint. One thread; time comes from the caller.
class complaints {
 public:
  using clock = std::chrono::steady_clock;

  // It went wrong `times` more: how often there is to tell of, if a line is due.
  std::optional<std::uint64_t> add(clock::time_point now, std::uint64_t times = 1) {
    untold_ += times;
    if (told_ && now - *told_ < std::chrono::seconds(1)) return std::nullopt;
    told_ = now;
    const auto count = untold_;
    untold_ = 0;
    return count;
  }

 private:
  std::optional<clock::time_point> told_;
  std::uint64_t untold_ = 0;
};

}  // namespace ballast
