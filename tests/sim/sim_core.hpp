// Virtual time, one source of randomness and the trace of a simulated schedule. Everything a schedule does follows from
// its seed.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <stdexcept>
#include <string>
#include <vector>

namespace ballast::sim {

// A broken invariant; the text says which and where.
struct broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// splitmix64: small, fast, the same everywhere.
class dice {
 public:
  explicit dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) { return least + next() % (most - least + 1); }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < p; }

 private:
  std::uint64_t state_;
};

inline constexpr std::uint64_t ms = 1000, second = 1'000'000;  // virtual time is in microseconds

class core {
 public:
  core(std::uint64_t seed, bool tracing) : roll(seed), tracing_(tracing) {}

  std::uint64_t now() const { return now_us_; }
  void after(std::uint64_t delay_us, std::function<void()> what) {
    queue_.push({now_us_ + delay_us, ++order_, std::move(what)});
  }
  // Takes the next event unless it lies beyond `until`. False: none left before.
  bool step(std::uint64_t until) {
    if (queue_.empty() || queue_.top().at > until) {
      now_us_ = until;
      return false;
    }
    auto what = std::move(const_cast<entry&>(queue_.top()).what);
    now_us_ = queue_.top().at;
    queue_.pop();
    ++events;
    what();
    return true;
  }

  template <class F>
  void trace(F&& text) {
    if (!tracing_) return;
    lines.push_back(fmt::format("{:9.1f} ms  {}", static_cast<double>(now_us_) / 1000, text()));
    if (lines.size() > kept_lines) lines.pop_front();
  }

  dice roll;
  std::deque<std::string> lines;
  std::size_t kept_lines = 400;
  std::uint64_t events = 0;

 private:
  struct entry {
    std::uint64_t at;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const entry& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  std::priority_queue<entry> queue_;
  std::uint64_t now_us_ = 0, order_ = 0;
  bool tracing_;
};

}  // namespace ballast::sim
