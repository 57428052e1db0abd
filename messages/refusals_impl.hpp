// What a link refuses, by kind: each is counted for good, and one line a second of each is logged at most.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "messages/complaints.hpp"

namespace ballast {

// Messages first, then connections in the order of turned_away.
enum class refusal { malformed, forbidden, too_many, handshake, unfinished, cut_off };
inline constexpr std::size_t refusal_kinds = 6;

class refusals {
 public:
  // The link's thread. How many there are to tell of, if a line is due.
  std::optional<std::uint64_t> note(refusal kind, std::uint64_t times = 1) {
    const auto i = static_cast<std::size_t>(kind);
    counts_[i].fetch_add(times, std::memory_order_relaxed);
    return complaints_[i].add(complaints::clock::now(), times);
  }
  // Any thread.
  std::uint64_t operator[](refusal kind) const {
    return counts_[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<std::uint64_t>, refusal_kinds> counts_{};
  std::array<complaints, refusal_kinds> complaints_;
};

}  // namespace ballast
