// An eventfd: wakes a thread that waits in zmq_poll.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace ballast::gpu::host {

// ring() from any thread; fd() and quiet() by the waiting one.
class bell {
 public:
  bell() noexcept : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~bell() {
    if (fd_ >= 0) ::close(fd_);
  }
  bell(const bell&) = delete;
  bell& operator=(const bell&) = delete;
  bool good() const noexcept { return fd_ >= 0; }
  int fd() const noexcept { return fd_; }
  void ring() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);  // full: it rings already
  }
  void quiet() noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(fd_, &count, sizeof count);  // empty: nothing rang
  }

 private:
  int fd_;
};

}  // namespace ballast::gpu::host
