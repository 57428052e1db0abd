#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#include "gpu/host/sockets_impl.hpp"

namespace ballast::gpu::host {
namespace {

constexpr std::size_t longest_ipc_path = 107;  // sockaddr_un, less its final zero
std::atomic<std::uint64_t> opened{0};

// What is written into a message happens before it is read from it on the other side. The thread sanitizer cannot see
// how the library orders that, so it is told.
void hand_over([[maybe_unused]] zmq::message_t& message) noexcept {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(message.data());
#endif
}
void take_over([[maybe_unused]] zmq::message_t& message) noexcept {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(message.data());
#endif
}

void configure(zmq::socket_t& socket, const socket_limits& limits) {
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::sndhwm, limits.queue);
  socket.set(zmq::sockopt::rcvhwm, limits.queue);
  socket.set(zmq::sockopt::maxmsgsize, limits.frame);
}

// The pattern with its star, or its end, replaced by something no other socket has.
result<std::string> unique_address(const std::string& bind, const std::string& purpose) {
  if (bind.starts_with("tcp://")) return bind;
  const bool ipc = bind.starts_with("ipc://");
  if (!ipc && !bind.starts_with("inproc://"))
    return fail(errc::invalid_argument,
                fmt::format("data address `{}` must be tcp://host:*, ipc://dir/prefix or inproc://prefix", bind));
  const auto tag = fmt::format("{}.{}.{}", ::getpid(), opened.fetch_add(1), purpose);
  auto address = bind;
  if (const auto star = address.find('*'); star != std::string::npos) {
    address.replace(star, 1, tag);
  } else {
    address += "." + tag;
  }
  if (ipc && address.size() - 6 > longest_ipc_path)
    return fail(errc::invalid_argument,
                fmt::format("data address `{}` has {} characters, a socket's path may have {}; use a shorter prefix",
                            address, address.size() - 6, longest_ipc_path));
  return address;
}

std::string advertised(const std::string& address, const std::string& host) {
  if (host.empty() || !address.starts_with("tcp://")) return address;
  return "tcp://" + host + address.substr(address.rfind(':'));
}

}  // namespace

bound_socket::~bound_socket() {
  if (socket.handle() == nullptr) return;
  socket.close();
  if (!file.empty()) ::unlink(file.c_str());
}

bound_socket& bound_socket::operator=(bound_socket&& other) noexcept {
  std::swap(socket, other.socket);
  std::swap(address, other.address);
  std::swap(file, other.file);
  return *this;
}

result<bound_socket> open_bound(const wire_context& context, zmq::socket_type type, const address_pattern& pattern,
                                const std::string& purpose, const socket_limits& limits) {
  const auto address = unique_address(pattern.bind, purpose);
  if (!address) return fail(address.error());
  try {
    bound_socket made;
    made.socket = zmq::socket_t(context.zmq, type);
    configure(made.socket, limits);
    if (context.guard.prepare)
      if (const auto fit = context.guard.prepare(&made.socket, *address, true); !fit) return fail(fit.error());
    made.socket.bind(*address);
    made.address = advertised(made.socket.get(zmq::sockopt::last_endpoint), pattern.advertise);
    if (context.guard.announced) made.address = context.guard.announced(made.address);
    if (address->starts_with("ipc://")) made.file = address->substr(6);
    return made;
  } catch (const zmq::error_t& e) {
    return fail(errc::io, fmt::format("cannot open data address `{}`: {}", *address, e.what()));
  }
}

result<zmq::socket_t> open_connected(const wire_context& context, zmq::socket_type type, const std::string& address,
                                     const socket_limits& limits) {
  try {
    zmq::socket_t made(context.zmq, type);
    configure(made, limits);
    const auto fit =
        context.guard.prepare ? context.guard.prepare(&made, address, false) : result<std::string>(address);
    if (!fit) return fail(fit.error());
    made.connect(*fit);
    return made;
  } catch (const zmq::error_t& e) {
    return fail(errc::unavailable, fmt::format("cannot connect to data address `{}`: {}", address, e.what()));
  }
}

sent try_send(zmq::socket_t& socket, zmq::message_t& message, bool more) noexcept {
  hand_over(message);
  const int flags = ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0);
  while (zmq_msg_send(message.handle(), socket.handle(), flags) < 0)
    if (zmq_errno() != EINTR) return zmq_errno() == EAGAIN ? sent::full : sent::failed;
  return sent::yes;
}

bool try_receive(zmq::socket_t& socket, zmq::message_t& message) noexcept {
  while (zmq_msg_recv(message.handle(), socket.handle(), ZMQ_DONTWAIT) < 0)
    if (zmq_errno() != EINTR) return false;
  take_over(message);
  return true;
}

void wait(zmq::socket_t& socket, short events, bell& interrupt, std::optional<clock::time_point> until) noexcept {
  long timeout_ms = -1;
  if (until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - clock::now()).count();
    timeout_ms = static_cast<long>(std::max<std::int64_t>(left, 0));
  }
  zmq_pollitem_t items[] = {{socket.handle(), 0, events, 0}, {nullptr, interrupt.fd(), ZMQ_POLLIN, 0}};
  if (zmq_poll(items, 2, timeout_ms) > 0 && items[1].revents != 0) interrupt.quiet();
}

}  // namespace ballast::gpu::host
