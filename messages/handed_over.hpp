// What one thread gives another through a queue that the thread sanitizer cannot see into (packaged CAF's mailboxes are
// not instrumented): the pointer tells it that all that was done before it was made happened before all that is done
// through it. Precise, one edge an object; in every other build this is a shared pointer and nothing else.
#pragma once

#include <memory>
#include <utility>

#if defined(__SANITIZE_THREAD__)
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace ballast {

template <class T>
class handed_over {
 public:
  handed_over() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): takes the place of the shared pointer
  handed_over(std::shared_ptr<T> what) : what_(std::move(what)) {
#if defined(__SANITIZE_THREAD__)
    __tsan_release(address());
#endif
  }
  T* get() const {
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(address());
#endif
    return what_.get();
  }
  T& operator*() const { return *get(); }
  T* operator->() const { return get(); }

 private:
#if defined(__SANITIZE_THREAD__)
  void* address() const { return const_cast<void*>(static_cast<const void*>(what_.get())); }
#endif
  std::shared_ptr<T> what_;
};

}  // namespace ballast
