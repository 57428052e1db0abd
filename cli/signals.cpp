#include "cli/signals.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

namespace ballast {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

stop_signal::stop_signal() {
  const auto set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  descriptor_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

stop_signal::~stop_signal() {
  if (descriptor_ >= 0) ::close(descriptor_);
  const auto set = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

bool stop_signal::raised() { return wait(std::chrono::milliseconds(0)); }

bool stop_signal::wait(std::chrono::milliseconds longest) {
  if (raised_) return true;
  pollfd one{descriptor_, POLLIN, 0};
  signalfd_siginfo taken;
  raised_ = ::poll(&one, 1, static_cast<int>(longest.count())) > 0 && ::read(descriptor_, &taken, sizeof taken) > 0;
  return raised_;
}

void stop_signal::wait() {
  while (!wait(std::chrono::hours(1))) {
  }
}

}  // namespace ballast
