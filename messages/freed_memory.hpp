// What a process that runs for months does with memory that it no longer uses.
#pragma once

#include <chrono>

namespace ballast {

// Gives freed memory back to the system now and then. glibc keeps what each thread freed, in up to eight arenas a core,
// so that a process grows with every burst of work on yet another thread. For a program's main thread, which waits for
// signals only: each arena is locked in turn while it is looked through.
class freed_memory {
 public:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds interval{5};

  void tick(clock::time_point now = clock::now());

 private:
  clock::time_point given_back_{};
};

}  // namespace ballast
