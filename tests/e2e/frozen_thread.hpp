// One thread of another process that goes no further, while the others do: a call into a device that never returns.
#pragma once

#include <sys/types.h>

#include <string>

#include "messages/result.hpp"

namespace ballast::test {

// Used by the thread that made it, as ptrace(2) has it. The process is a child of this one.
class frozen_thread {
 public:
  // Stops the thread of that name and returns when it has stopped. Errors: not_found; unavailable: nobody may be traced
  // here; io.
  static result<frozen_thread> of(pid_t process, const std::string& name);
  frozen_thread(frozen_thread&& other) noexcept;
  frozen_thread& operator=(frozen_thread&&) = delete;
  ~frozen_thread() { go_on(); }
  void go_on() noexcept;

 private:
  explicit frozen_thread(pid_t thread) : thread_(thread) {}
  pid_t thread_;
};

}  // namespace ballast::test
