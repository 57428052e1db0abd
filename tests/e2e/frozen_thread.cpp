#include "tests/e2e/frozen_thread.hpp"

#include <fmt/core.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

namespace ballast::test {
namespace {

result<pid_t> thread_of(pid_t process, const std::string& name) {
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process), ignored)) {
    std::string its;
    std::getline(std::ifstream(task.path() / "comm"), its);
    if (its != name) continue;
    pid_t thread = 0;
    const std::string number = task.path().filename();
    std::from_chars(number.data(), number.data() + number.size(), thread);
    return thread;
  }
  return fail(errc::not_found, fmt::format("process {} has no thread `{}`", process, name));
}

}  // namespace

result<frozen_thread> frozen_thread::of(pid_t process, const std::string& name) {
  const auto thread = thread_of(process, name);
  if (!thread) return fail(thread.error());
  if (ptrace(PTRACE_SEIZE, *thread, nullptr, nullptr) != 0)
    return fail(errno == EPERM ? errc::unavailable : errc::io,
                fmt::format("thread {} cannot be traced: {}", *thread, std::strerror(errno)));
  frozen_thread frozen(*thread);
  if (ptrace(PTRACE_INTERRUPT, *thread, nullptr, nullptr) != 0 || waitpid(*thread, nullptr, __WALL) != *thread)
    return fail(errc::io, fmt::format("thread {} does not stop: {}", *thread, std::strerror(errno)));
  return frozen;
}

frozen_thread::frozen_thread(frozen_thread&& other) noexcept : thread_(std::exchange(other.thread_, 0)) {}

void frozen_thread::go_on() noexcept {
  if (const auto thread = std::exchange(thread_, 0); thread != 0) ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
}

}  // namespace ballast::test
