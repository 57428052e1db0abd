// Giving a pull up from another thread.
#pragma once

#include <mutex>

#include "gpu/host/sockets_impl.hpp"

namespace ballast::gpu::host {

// Threads: cancel() any; the rest on the transfer thread.
class cancellation {
 public:
  // A pull is under way while one of these lives; one at a time.
  class scope {
   public:
    explicit scope(cancellation& of) : of_(of) { of_.set(true); }
    ~scope() { of_.set(false); }
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;

   private:
    cancellation& of_;
  };

  void cancel() noexcept;  // nothing under way: no effect on the next
  bool cancelled() const noexcept {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }
  bell& interrupt() noexcept { return bell_; }        // rung by cancel()
  bool wait_until(clock::time_point until) noexcept;  // true: cancelled. Finer than a millisecond

 private:
  void set(bool under_way) noexcept;

  bell bell_;
  mutable std::mutex mutex_;
  bool under_way_ = false, cancelled_ = false;  // guarded by mutex_
};

}  // namespace ballast::gpu::host
