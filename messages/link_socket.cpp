#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

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

// Addresses of monitors are never used twice: the last one may still be on its way out.
std::string monitor_address() {
  static std::atomic<std::uint64_t> count{0};
  return fmt::format("inproc://monitor-{}", ++count);
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
    socket_.set(zmq::sockopt::reconnect_ivl, 5);        // doubles up to the next
    socket_.set(zmq::sockopt::reconnect_ivl_max, 200);  // a peer that is back is not kept waiting
    if (!options_.identity.empty()) socket_.set(zmq::sockopt::routing_id, options_.identity);
    if (options_.kind == link_kind::subscriber) socket_.set(zmq::sockopt::subscribe, "");
    if (options_.announce) {
      socket_.set(zmq::sockopt::probe_router, true);
      socket_.set(zmq::sockopt::immediate, true);  // or only the first connection is announced
    }
    if (is_router()) {
      socket_.set(zmq::sockopt::router_mandatory, true);
      socket_.set(zmq::sockopt::router_handover, true);
      if (options_.on_connection) watch_connections();
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

void link_socket::watch_connections() {
  const auto address = monitor_address();
  if (zmq_socket_monitor(socket_.handle(), address.c_str(), ZMQ_EVENT_DISCONNECTED) != 0) throw zmq::error_t();
  monitor_ = zmq::socket_t(context_, zmq::socket_type::pair);
  monitor_.set(zmq::sockopt::linger, 0);
  monitor_.connect(address);
}

// An event is two parts: number (16 bits) and value (32 bits), here the descriptor; and an address.
void link_socket::note_closed() {
  zmq::message_t event, address;
  while (receive_part(monitor_, event)) {
    if (event.more()) receive_part(monitor_, address);
    std::int32_t connection = -1;
    if (event.size() != 6) continue;
    std::memcpy(&connection, static_cast<const std::byte*>(event.data()) + 2, sizeof connection);
    if (auto gone = peers_.extract(connection)) news_.emplace_back(std::move(gone.mapped()), false);
  }
}

// Descriptors are given out again, so what is known to be closed comes first: ZeroMQ tells of an end before it accepts
// the connection that inherits the number. A peer's older connection may end unseen, taken over by this one.
void link_socket::note_announced(const std::string& peer, int connection) {
  note_closed();
  if (connection < 0) return;
  std::erase_if(peers_, [&](const auto& known) { return known.second == peer; });
  peers_[connection] = peer;
  news_.emplace_back(peer, true);
}

std::optional<link_socket::incoming> link_socket::receive() {
  if (watches()) note_closed();
  for (;;) {
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
    if (!watches() || got.several || got.body.size() != 0) return got;
    note_announced(got.peer, zmq_msg_get(got.body.handle(), ZMQ_SRCFD));
  }
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
  std::array<zmq_pollitem_t, 3> items{
      {{nullptr, bell, ZMQ_POLLIN, 0}, {socket_.handle(), 0, events, 0}, {monitor_.handle(), 0, ZMQ_POLLIN, 0}}};
  zmq_poll(items.data(), watches() ? 3 : 2, longest.count());
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
    const std::string news = monitor_address();
    monitor_.close();  // a socket has one monitor
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
