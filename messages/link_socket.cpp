#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

#include "messages/curve_impl.hpp"
#include "messages/link_socket_impl.hpp"

namespace ballast {
namespace {

using std::chrono::milliseconds;

constexpr int frames_in_zmq = 256;  // on each side of a connection, beyond our own queue
constexpr milliseconds for_the_listener{1000};

int socket_type(link_kind kind) {
  switch (kind) {
    case link_kind::dealer:
      return ZMQ_DEALER;
    case link_kind::router:
      return ZMQ_ROUTER;
    case link_kind::publisher:
      return ZMQ_PUB;
    case link_kind::subscriber:
      break;
  }
  return ZMQ_SUB;
}

// The message takes the buffer over instead of copying it.
zmq::message_t frame_of(byte_buffer bytes) {
  auto* held = new byte_buffer(std::move(bytes));
  return zmq::message_t(
      held->data(), held->size(), [](void*, void* hint) { delete static_cast<byte_buffer*>(hint); }, held);
}

template <class Call>
bool unless_interrupted(Call call) {
  int done = -1;
  do done = call();
  while (done < 0 && zmq_errno() == EINTR);
  return done >= 0;
}

bool receive_part(zmq::socket_t& from, zmq::message_t& part) {
  return unless_interrupted([&] { return zmq_msg_recv(part.handle(), from.handle(), ZMQ_DONTWAIT); });
}
bool send_part(zmq::socket_t& to, zmq::message_t& part, int flags) {
  return unless_interrupted([&] { return zmq_msg_send(part.handle(), to.handle(), flags | ZMQ_DONTWAIT); });
}

}  // namespace

link_socket::link_socket(zmq::context_t& context, const link_security& security, const link_options& options)
    : security_(security), options_(options), context_(context), socket_(context, socket_type(options.kind)) {}

status link_socket::open(std::string& address) {
  try {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::sndhwm, frames_in_zmq);
    socket_.set(zmq::sockopt::rcvhwm, frames_in_zmq);
    socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(options_.limits.frame_bytes));
    // A host that vanished without a word is noticed, and its routing id and buffers are given up.
    socket_.set(zmq::sockopt::heartbeat_ivl, 2000);
    socket_.set(zmq::sockopt::heartbeat_timeout, 10000);
    socket_.set(zmq::sockopt::heartbeat_ttl, 20000);
    socket_.set(zmq::sockopt::tcp_keepalive, 1);
    socket_.set(zmq::sockopt::reconnect_ivl, 50);
    socket_.set(zmq::sockopt::reconnect_ivl_max, 200);  // a peer that is back is not kept waiting
    if (!options_.identity.empty()) socket_.set(zmq::sockopt::routing_id, options_.identity);
    if (options_.kind == link_kind::subscriber) socket_.set(zmq::sockopt::subscribe, "");
    if (is_router()) {
      socket_.set(zmq::sockopt::router_mandatory, true);
      socket_.set(zmq::sockopt::router_handover, true);
    }
    socket_.set(zmq::sockopt::handshake_ivl, static_cast<int>(security_.limits.handshake_ms));
    const auto at = curve::prepare(socket_, security_, options_.address, options_.bind, curve::messages_domain);
    if (!at) return fail(at.error());
    if (options_.bind)
      socket_.bind(*at);
    else
      socket_.connect(*at);
    address = socket_.get(zmq::sockopt::last_endpoint);
    if (options_.bind) address = curve::announced(security_, address);
    return {};
  } catch (const zmq::error_t&) {
    const bool senseless = zmq_errno() == EINVAL || zmq_errno() == EPROTONOSUPPORT;
    return fail(senseless ? errc::invalid_argument : errc::unavailable,
                fmt::format("cannot {} {}: {}", options_.bind ? "bind" : "connect to", options_.address,
                            zmq_strerror(zmq_errno())));
  }
}

std::optional<link_socket::incoming> link_socket::receive() {
  incoming got;
  if (!receive_part(socket_, got.body)) return std::nullopt;
  if (is_router()) {
    got.peer = got.body.to_string();
    if (!got.body.more() || !receive_part(socket_, got.body)) got.body.rebuild();
  }
  if (is_router() && security_.keys)
    if (const char* user = zmq_msg_gets(got.body.handle(), "User-Id")) got.user = user;
  got.several = got.body.more();
  zmq::message_t rest;
  for (bool more = got.several; more;) more = receive_part(socket_, rest) && rest.more();  // parts arrive together
  return got;
}

link_socket::sent link_socket::send(outgoing& message) {
  if (is_router()) {  // once the first part is taken, the second cannot be held up
    zmq::message_t to(message.peer);
    if (!send_part(socket_, to, ZMQ_SNDMORE)) return zmq_errno() == EAGAIN ? sent::held_up : sent::unroutable;
  }
  zmq::message_t frame = frame_of(std::move(message.frame));
  if (send_part(socket_, frame, 0)) return sent::done;
  if (zmq_errno() != EAGAIN) return sent::failed;
  const auto* data = static_cast<const std::byte*>(frame.data());
  message.frame.assign(data, data + frame.size());
  return sent::held_up;
}

link_socket::woken link_socket::wait(int bell, bool until_readable, bool until_writable, milliseconds longest) {
  const auto events = static_cast<short>((until_readable ? ZMQ_POLLIN : 0) | (until_writable ? ZMQ_POLLOUT : 0));
  std::array<zmq_pollitem_t, 2> items{{{nullptr, bell, ZMQ_POLLIN, 0}, {socket_.handle(), 0, events, 0}}};
  zmq_poll(items.data(), static_cast<int>(items.size()), longest.count());
  return {items[0].revents != 0, (items[1].revents & ZMQ_POLLOUT) != 0};
}

void link_socket::close(milliseconds linger) {
  try {
    socket_.set(zmq::sockopt::linger, static_cast<int>(std::max<milliseconds::rep>(linger.count(), 0)));
    if (!options_.bind) return;
    const std::string bound = socket_.get(zmq::sockopt::last_endpoint);
    if (bound.starts_with("inproc:")) return socket_.unbind(bound);
    // ZeroMQ closes a listener some time later, on a thread of its own: who binds the address meanwhile is refused or,
    // with ipc, loses the file. So wait for its word.
    static std::atomic<std::uint64_t> count{0};  // the name of the last monitor may still be in use
    const std::string news = fmt::format("inproc://closing-{}", ++count);
    if (zmq_socket_monitor(socket_.handle(), news.c_str(), ZMQ_EVENT_CLOSED | ZMQ_EVENT_CLOSE_FAILED) != 0) return;
    zmq::socket_t closed(context_, zmq::socket_type::pair);
    closed.set(zmq::sockopt::linger, 0);
    closed.connect(news);
    socket_.unbind(bound);
    zmq_pollitem_t item{closed.handle(), 0, ZMQ_POLLIN, 0};
    unless_interrupted([&] { return zmq_poll(&item, 1, for_the_listener.count()); });
    zmq_socket_monitor(socket_.handle(), nullptr, 0);
  } catch (const zmq::error_t&) {
    // Nothing to wait for: the socket goes either way.
  }
}

}  // namespace ballast
