#include <dlfcn.h>
#include <sys/epoll.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "messages/zmq_hangups_impl.hpp"

namespace ballast {
namespace {

constexpr std::uint32_t broken = EPOLLHUP | EPOLLERR;  // told whether asked for or not

struct watched {
  epoll_data_t data;
  std::uint32_t asked;
  bool was_read = false;  // a connection that is still being made never is: how that ends has to be told
  bool left_out = false;  // of the kernel's set, until somebody wants to read again
};
using watched_set = std::unordered_map<int, watched>;  // by descriptor; used by one thread at a time, as by libzmq

struct registry {
  std::mutex mutex;
  std::unordered_map<int, std::shared_ptr<watched_set>> sets;  // libzmq's, by the descriptor of the set
};

registry& known() {
  static auto& all = *new registry;  // libzmq's threads may outlive static objects
  return all;
}

std::shared_ptr<watched_set> set_of(int epoll) {
  const std::lock_guard lock(known().mutex);
  const auto found = known().sets.find(epoll);
  return found == known().sets.end() ? nullptr : found->second;
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

bool is_in_libzmq(void* address) {
  Dl_info at{};
  return dladdr(address, &at) != 0 && at.dli_fname &&
         std::string_view(at.dli_fname).find("libzmq") != std::string::npos;
}

int note_set(int made, void* caller) {
  if (made < 0) return made;
  const std::lock_guard lock(known().mutex);
  if (is_in_libzmq(caller))
    known().sets[made] = std::make_shared<watched_set>();
  else
    known().sets.erase(made);  // libzmq closed its own of that number
  return made;
}

int control(int epoll, int operation, int descriptor, epoll_event* event) {
  static const auto real = next<decltype(epoll_ctl)>("epoll_ctl");
  return real(epoll, operation, descriptor, event);
}

// What libzmq is told of an event, if anything.
bool tell(int epoll, watched_set& set, epoll_event& event) {
  if ((event.events & broken) == 0) return true;
  const auto found = std::ranges::find_if(set, [&](const auto& one) { return one.second.data.u64 == event.data.u64; });
  if (found == set.end() || !found->second.was_read) return true;
  auto& [descriptor, one] = *found;
  if ((one.asked & EPOLLIN) != 0) {
    event.events = (event.events & ~broken) | EPOLLIN;  // a read finds what is left, and then the end
    return true;
  }
  one.left_out = true;  // or it would be told without end
  control(epoll, EPOLL_CTL_DEL, descriptor, &event);
  return false;
}

}  // namespace

bool zmq_hangups_are_held_back() {
  const std::lock_guard lock(known().mutex);
  return !known().sets.empty();
}

extern "C" {

int epoll_create(int size) noexcept {
  static const auto real = next<decltype(epoll_create)>("epoll_create");
  return note_set(real(size), __builtin_return_address(0));
}

int epoll_create1(int flags) noexcept {
  static const auto real = next<decltype(epoll_create1)>("epoll_create1");
  return note_set(real(flags), __builtin_return_address(0));
}

int epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event) noexcept {
  const auto set = set_of(epoll);
  if (!set) return control(epoll, operation, descriptor, event);
  const auto found = set->find(descriptor);
  const bool left_out = found != set->end() && found->second.left_out;
  if (operation == EPOLL_CTL_DEL) {
    if (found != set->end()) set->erase(found);
    return left_out ? 0 : control(epoll, operation, descriptor, event);
  }
  if (operation == EPOLL_CTL_ADD || found == set->end()) {
    const int done = control(epoll, operation, descriptor, event);
    if (done == 0) (*set)[descriptor] = {event->data, event->events, (event->events & EPOLLIN) != 0};
    return done;
  }
  auto& one = found->second;
  one.data = event->data;
  one.asked = event->events;
  if ((event->events & EPOLLIN) == 0) return left_out ? 0 : control(epoll, operation, descriptor, event);
  one.was_read = true;
  const int done = control(epoll, left_out ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, descriptor, event);
  one.left_out = left_out && done != 0;
  return done;
}

int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  static const auto real = next<decltype(epoll_wait)>("epoll_wait");
  const int count = real(epoll, events, most, timeout);
  if (count <= 0) return count;
  const auto set = set_of(epoll);
  if (!set) return count;
  const auto end = std::remove_if(events, events + count, [&](epoll_event& e) { return !tell(epoll, *set, e); });
  return static_cast<int>(end - events);
}

}  // extern "C"

}  // namespace ballast
