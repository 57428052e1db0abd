#include "cli/local/process.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace ballast {
namespace {

// Between fork and exec: only what is safe after a fork of a program with threads.
[[noreturn]] void become(char* const* argv, const char* log_file, pid_t parent) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  const int log = ::open(log_file, O_WRONLY | O_CREAT | O_APPEND, 0644);
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (log >= 0 && nothing >= 0) {
    ::dup2(nothing, 0);
    ::dup2(log, 1);
    ::dup2(log, 2);
    ::execv(argv[0], argv);
  }
  ::_exit(127);
}

}  // namespace

result<child_process> child_process::start(const std::string& program, const std::vector<std::string>& arguments,
                                           const std::string& log_file) {
  if (::access(program.c_str(), X_OK) != 0) {
    return fail(errc::io,
                fmt::format("{}: {}; build it, or keep the programs together", program, std::strerror(errno)));
  }
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const auto& one : arguments) argv.push_back(const_cast<char*>(one.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(argv.data(), log_file.c_str(), parent);
  if (pid < 0) return fail(errc::io, fmt::format("{}: cannot be started: {}", program, std::strerror(errno)));
  const int descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  child_process made(pid, descriptor);
  if (descriptor < 0) return fail(errc::io, fmt::format("{}: cannot be watched: {}", program, std::strerror(errno)));
  return made;
}

child_process::child_process(child_process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), descriptor_(std::exchange(other.descriptor_, -1)) {}

child_process& child_process::operator=(child_process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

child_process::~child_process() {
  kill();
  reap(true);
}

void child_process::reap(bool block) noexcept {
  if (pid_ < 0 || ::waitpid(pid_, nullptr, block ? 0 : WNOHANG) == 0) return;
  pid_ = -1;
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

bool child_process::running() {
  reap(false);
  return pid_ >= 0;
}

void child_process::signal(int number) noexcept {
  if (pid_ >= 0) ::kill(pid_, number);
}

void child_process::kill() noexcept { signal(SIGKILL); }

bool child_process::wait(std::chrono::milliseconds longest) {
  if (!running()) return true;
  pollfd one{descriptor_, POLLIN, 0};
  (void)::poll(&one, 1, static_cast<int>(longest.count()));
  return !running();
}

std::string program_folder() {
  std::array<char, 4096> path{};
  const auto size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string all(path.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  return all.substr(0, all.rfind('/') + 1);
}

}  // namespace ballast
