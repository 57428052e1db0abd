// Virtual time, one source of randomness and the trace of a simulated schedule. Everything a schedule does follows from
// its seed.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
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
  bool chance(double p) { return p > 0 && static_cast<double>(next() >> 11) * 0x1.0p-53 < p; }

 private:
  std::uint64_t state_;
};

inline constexpr std::uint64_t ms = 1000, second = 1'000'000;  // virtual time is in microseconds

// A call to be made once. Small ones lie in place: a schedule makes thousands.
class task {
 public:
  task() = default;
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, task>) explicit task(F&& what) {
    using held = std::remove_cvref_t<F>;
    if constexpr (sizeof(held) <= room && std::is_nothrow_move_constructible_v<held>) {
      new (place_) held(std::forward<F>(what));
      kind_ = &in_place<held>;
    } else {
      using owner = std::unique_ptr<held>;
      new (place_) owner(std::make_unique<held>(std::forward<F>(what)));
      kind_ = &elsewhere<held>;
    }
  }
  task(task&& o) noexcept { take(o); }
  task& operator=(task&& o) noexcept {
    clear();
    take(o);
    return *this;
  }
  ~task() { clear(); }

  void operator()() { kind_->call(place_); }

 private:
  struct kind {
    void (*call)(void*);
    void (*move)(void* from, void* to);  // and destroys `from`
    void (*destroy)(void*);
  };
  template <class T>
  static void move_out(void* from, void* to) {
    new (to) T(std::move(*static_cast<T*>(from)));
    static_cast<T*>(from)->~T();
  }
  template <class T>
  static void destroy(void* at) {
    static_cast<T*>(at)->~T();
  }
  template <class F>
  static constexpr kind in_place{[](void* at) { (*static_cast<F*>(at))(); }, &move_out<F>, &destroy<F>};
  template <class F>
  static constexpr kind elsewhere{[](void* at) { (**static_cast<std::unique_ptr<F>*>(at))(); },
                                  &move_out<std::unique_ptr<F>>, &destroy<std::unique_ptr<F>>};

  void take(task& o) noexcept {
    if (!o.kind_) return;
    o.kind_->move(o.place_, place_);
    kind_ = std::exchange(o.kind_, nullptr);
  }
  void clear() noexcept {
    if (kind_) std::exchange(kind_, nullptr)->destroy(place_);
  }

  static constexpr std::size_t room = 64;
  alignas(std::max_align_t) std::byte place_[room];
  const kind* kind_ = nullptr;
};

class core {
 public:
  core(std::uint64_t seed, bool tracing) : roll(seed), tracing_(tracing) {}

  std::uint64_t now() const { return now_us_; }
  template <class F>
  void after(std::uint64_t delay_us, F&& what) {
    std::uint32_t slot = 0;
    if (free_.empty()) {
      slot = static_cast<std::uint32_t>(tasks_.size());
      tasks_.emplace_back(std::forward<F>(what));
    } else {
      slot = free_.back();
      free_.pop_back();
      tasks_[slot] = task(std::forward<F>(what));
    }
    queue_.push_back({now_us_ + delay_us, ++order_, slot});
    std::push_heap(queue_.begin(), queue_.end());
  }
  // Takes the next event unless it lies beyond `until`. False: none left before.
  bool step(std::uint64_t until) {
    if (queue_.empty() || queue_.front().at > until) {
      now_us_ = until;
      return false;
    }
    std::pop_heap(queue_.begin(), queue_.end());
    const entry next = queue_.back();
    queue_.pop_back();
    task what = std::move(tasks_[next.slot]);
    free_.push_back(next.slot);
    now_us_ = next.at;
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
    std::uint32_t slot;
    bool operator<(const entry& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  std::vector<entry> queue_;  // a heap
  std::vector<task> tasks_;
  std::vector<std::uint32_t> free_;
  std::uint64_t now_us_ = 0, order_ = 0;
  bool tracing_;
};

}  // namespace ballast::sim
