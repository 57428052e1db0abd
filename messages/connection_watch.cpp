#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "messages/connection_watch_impl.hpp"
#include "messages/zmq_parts_impl.hpp"

namespace ballast {
namespace {

constexpr std::size_t at_once = 256;  // events looked at together
constexpr std::chrono::seconds between_sweeps{1};
constexpr int told = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
constexpr int handshake_failed =
    ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

}  // namespace

connection_watch::descriptor::descriptor(int of) : fd_(::fcntl(of, F_DUPFD_CLOEXEC, 0)) {}

connection_watch::descriptor::~descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

bool connection_watch::descriptor::same_as(int other) const {
  struct stat mine {};
  struct stat its {};
  return ::fstat(fd_, &mine) == 0 && ::fstat(other, &its) == 0 && mine.st_ino == its.st_ino &&
         mine.st_dev == its.st_dev;
}

bool connection_watch::descriptor::peer_has_left() const {
  char next = 0;
  const auto got = ::recv(fd_, &next, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN);
}

std::string connection_watch::fresh_address() {
  static std::atomic<std::uint64_t> count{0};
  return fmt::format("inproc://monitor-{}", ++count);
}

void connection_watch::start(zmq::context_t& context, zmq::socket_t& watched) {
  const auto address = fresh_address();
  if (zmq_socket_monitor(watched.handle(), address.c_str(), told | handshake_failed) != 0) throw zmq::error_t();
  monitor_ = zmq::socket_t(context, zmq::socket_type::pair);
  monitor_.set(zmq::sockopt::linger, 0);
  monitor_.set(zmq::sockopt::rcvhwm, 0);  // at a bound ZeroMQ's own thread would wait for this one
  monitor_.connect(address);
}

// In this order: an event without a reader would hold up ZeroMQ's thread, and it the next who changes the monitor.
void connection_watch::stop(zmq::socket_t& watched) {
  if (!on()) return;
  zmq_socket_monitor(watched.handle(), nullptr, 0);
  monitor_.close();
  held_.clear();
}

// An event is two parts: number (16 bits) and value (32 bits), here mostly the descriptor; and an address.
std::optional<connection_watch::happened> connection_watch::next() {
  zmq::message_t event, address;
  if (!receive_part(monitor_, event)) return std::nullopt;
  if (event.more()) receive_part(monitor_, address);
  happened out;
  if (event.size() != sizeof out.what + sizeof out.value) return out;
  std::memcpy(&out.what, event.data(), sizeof out.what);
  std::memcpy(&out.value, static_cast<const std::byte*>(event.data()) + sizeof out.what, sizeof out.value);
  return out;
}

void connection_watch::look() {
  for (bool more = true; more;) {
    std::vector<happened> some;
    for (auto one = next(); one; one = next()) {
      some.push_back(*one);
      if (some.size() == at_once) break;
    }
    more = some.size() == at_once;
    take_in(some);
  }
}

void connection_watch::take_in(const std::vector<happened>& all) {
  for (auto e = all.begin(); e != all.end(); ++e) {
    const auto its_end = [&](const happened& later) {
      return later.what == ZMQ_EVENT_DISCONNECTED && later.value == e->value;
    };
    if (e->what == ZMQ_EVENT_ACCEPTED) {
      accepted(e->value, std::none_of(e, all.end(), its_end));
    } else if (e->what == ZMQ_EVENT_DISCONNECTED) {
      closed(e->value);
    } else if (e->what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
      ++greetings_;
    } else if ((e->what & handshake_failed) != 0) {
      // Its connection ends next: ZeroMQ tells both in one go.
      explained_ = true;
      if (e->what == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) failed_ = turned_away::handshake;
      if (e->what == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) failed_ = turned_away::unfinished;
    }
  }
}

// Of one that has ended the descriptor may be another's by now.
void connection_watch::accepted(int fd, bool lives) {
  held_.erase(fd);
  sweep();
  held_.emplace(fd, connection{lives ? descriptor(fd) : descriptor(), greetings_});
}

// A connection that another of the same routing id took over ends untold. Of others the end may not have been told yet.
void connection_watch::sweep() {
  const auto now = std::chrono::steady_clock::now();
  if (now - swept_ < between_sweeps) return;
  swept_ = now;
  for (auto at = held_.begin(); at != held_.end();) {
    auto& [fd, one] = *at;
    const bool gone = !one.held.same_as(fd) && std::exchange(one.seems_gone, true);
    at = gone ? held_.erase(at) : std::next(at);
  }
}

// ZeroMQ gives no reason where the first bytes are of no protocol, nor for what goes wrong after a handshake.
void connection_watch::closed(int fd) {
  const auto known = held_.extract(fd);
  const bool by_us = known && !known.mapped().held.peer_has_left();
  const bool greeted = !known || known.mapped().greetings != greetings_;
  const auto failed = std::exchange(failed_, std::nullopt);
  if (failed == turned_away::handshake || (failed && by_us)) count(*failed);
  if (!std::exchange(explained_, false)) {
    if (!greeted) count(turned_away::handshake);
    if (greeted && by_us) count(turned_away::cut_off);
  }
  if (auto gone = peers_.extract(fd)) news_.emplace_back(std::move(gone.mapped()), false);
}

// Descriptors are given out again, so what is known to be closed comes first: ZeroMQ tells of an end before it accepts
// the connection that inherits the number. A peer's older connection may end unseen, taken over by this one.
void connection_watch::announced(const std::string& peer, int fd) {
  look();
  if (fd < 0) return;
  std::erase_if(peers_, [&](const auto& known) { return known.second == peer; });
  peers_[fd] = peer;
  news_.emplace_back(peer, true);
}

}  // namespace ballast
