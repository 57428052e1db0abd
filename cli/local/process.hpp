// A child process, ended with its owner.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast {

// One thread. The child dies with the thread that started it, whatever ends that one.
class child_process {
 public:
  // Standard output and error go to `log_file`. Errors: io.
  static result<child_process> start(const std::string& program, const std::vector<std::string>& arguments,
                                     const std::string& log_file);
  child_process(child_process&& other) noexcept;
  child_process& operator=(child_process&& other) noexcept;
  ~child_process();  // kills

  pid_t pid() const noexcept { return pid_; }
  bool running();                                // false once it has ended; never waits
  void signal(int number) noexcept;              // nothing if it has ended
  void kill() noexcept;                          // SIGKILL; running() tells when it is gone
  bool wait(std::chrono::milliseconds longest);  // until it has ended; false: it still runs

 private:
  child_process(pid_t pid, int descriptor) : pid_(pid), descriptor_(descriptor) {}
  void reap(bool block) noexcept;

  pid_t pid_ = -1;
  int descriptor_ = -1;  // pidfd: readable when the child has ended
};

// Folder of the running program, with '/' at the end.
std::string program_folder();

}  // namespace ballast
