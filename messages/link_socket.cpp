#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "messages/curve_impl.hpp"
#include "messages/link_socket_impl.hpp"
#include "messages/log.hpp"
#include "messages/zmq_hangups_impl.hpp"
#include "messages/zmq_parts_impl.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int frames_in_zmq = 256;  // on each side of a connection, beyond our own queue
constexpr milliseconds for_the_listener{1000};
// Of a dealer with several addresses: what is told of a connection so soon may be about the one before, where they are
// names and ZeroMQ tells numbers; it is told again.
constexpr milliseconds settling{20};
constexpr int longest_connect_ms = 500, longest_handshake_ms = 500;

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

void say_once_if_exposed() {
  static const bool held_back = [] {
    const bool yes = zmq_hangups_are_held_back();
    if (!yes)
      log::warn(
          "links: a peer that breaks off may make libzmq abort this process; link Ballast into the program itself, "
          "with libzmq as a shared library");
    return yes;
  }();
  (void)held_back;
}

std::vector<std::string> split(const std::string& addresses) {
  std::vector<std::string> out;
  for (std::size_t from = 0; from <= addresses.size();) {
    const auto comma = std::min(addresses.find(',', from), addresses.size());
    out.push_back(addresses.substr(from, comma - from));
    from = comma + 1;
  }
  return out;
}

}  // namespace

link_socket::link_socket(zmq::context_t& context, const link_security& security, const link_options& options)
    : security_(security),
      options_(options),
      context_(context),
      socket_(context, socket_type(options.kind)),
      addresses_(options.bind ? std::vector{options.address} : split(options.address)) {}

void link_socket::set_options() {
  socket_.set(zmq::sockopt::linger, 0);
  socket_.set(zmq::sockopt::sndhwm, frames_in_zmq);
  socket_.set(zmq::sockopt::rcvhwm, frames_in_zmq);
  socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(options_.limits.frame_bytes));
  // A host that vanished without a word is noticed, and its routing id and buffers are given up. Who connects asks for
  // heartbeats, of which the other side misses some (ttl); who binds asks for none.
  if (!options_.bind) {
    const auto silence = static_cast<int>(longest_silence.count());
    socket_.set(zmq::sockopt::heartbeat_ivl, follows() ? silence / 4 : 2000);
    socket_.set(zmq::sockopt::heartbeat_timeout, follows() ? silence : 10000);
    socket_.set(zmq::sockopt::heartbeat_ttl, 20000);
  }
  socket_.set(zmq::sockopt::tcp_keepalive, 1);
  socket_.set(zmq::sockopt::tcp_keepalive_idle, 10);  // seconds
  socket_.set(zmq::sockopt::tcp_keepalive_intvl, 5);
  socket_.set(zmq::sockopt::tcp_keepalive_cnt, 3);
  socket_.set(zmq::sockopt::reconnect_ivl, 5);        // doubles up to the next
  socket_.set(zmq::sockopt::reconnect_ivl_max, 200);  // a peer that is back is not kept waiting
  if (!options_.identity.empty()) socket_.set(zmq::sockopt::routing_id, options_.identity);
  if (options_.kind == link_kind::subscriber) socket_.set(zmq::sockopt::subscribe, "");
  if (options_.announce) socket_.set(zmq::sockopt::probe_router, true);
  // Or only the first connection is announced, and what waits for one address goes with it.
  if (options_.announce || follows()) socket_.set(zmq::sockopt::immediate, true);
  const auto handshake = static_cast<int>(security_.limits.handshake_ms);
  socket_.set(zmq::sockopt::handshake_ivl, follows() ? std::min(handshake, longest_handshake_ms) : handshake);
  if (follows()) {
    socket_.set(zmq::sockopt::connect_timeout, longest_connect_ms);
    watch_own();
  }
  if (is_router()) {
    socket_.set(zmq::sockopt::router_mandatory, true);
    socket_.set(zmq::sockopt::router_handover, true);
  }
  if (options_.on_connection || (options_.bind && !options_.address.starts_with("inproc:")))
    watch_.start(context_, socket_);
}

// In reverse order, so that a dealer is left with what belongs to the first: keys are options of the socket.
status link_socket::connect_all() {
  for (auto address = addresses_.rbegin(); address != addresses_.rend(); ++address) {
    const auto at = curve::prepare(socket_, security_, *address, false, curve::messages_domain);
    if (!at) return fail(at.error());
    if (!follows()) socket_.connect(*at);
    connected_ = *at;
  }
  if (follows()) socket_.connect(connected_);
  since_ = clock::now();
  return {};
}

status link_socket::open(std::string& address) {
  try {
    set_options();
    if (options_.bind) {
      const auto at = curve::prepare(socket_, security_, options_.address, true, curve::messages_domain);
      if (!at) return fail(at.error());
      socket_.bind(*at);
      say_once_if_exposed();
    } else if (auto ok = connect_all(); !ok) {
      return ok;
    }
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

void link_socket::watch_own() {
  const auto address = connection_watch::fresh_address();
  const int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED;
  if (zmq_socket_monitor(socket_.handle(), address.c_str(), events) != 0) throw zmq::error_t();
  monitor_ = zmq::socket_t(context_, zmq::socket_type::pair);
  monitor_.set(zmq::sockopt::linger, 0);
  monitor_.connect(address);
}

void link_socket::move_on() {
  if (!follows()) return;
  at_ = (at_ + 1) % addresses_.size();
  try {
    socket_.disconnect(connected_);
    const auto next = curve::prepare(socket_, security_, addresses_[at_], false, curve::messages_domain);
    connected_ = next.value_or(addresses_[at_]);  // all of them were prepared before
    socket_.connect(connected_);
  } catch (const zmq::error_t&) {
    log::warn("link {}: cannot connect to {}: {}", options_.name, connected_, zmq_strerror(zmq_errno()));
  }
  since_ = clock::now();
}

// Whatever is told of a dealer's connection says that it has ended or could not be made; of the one before, it may be
// told late.
void link_socket::follow() {
  zmq::message_t event, address;
  bool ended = false;
  while (receive_part(monitor_, event)) {
    if (event.more()) receive_part(monitor_, address);
    const auto of = address.to_string();
    ended = ended || of == connected_ || std::ranges::find(addresses_, of) == addresses_.end();
  }
  if (ended && clock::now() >= since_ + settling) move_on();
}

std::optional<link_socket::incoming> link_socket::receive() {
  if (follows()) follow();
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
    if (!options_.on_connection || got.several || got.body.size() != 0) return got;
    watch_.announced(got.peer, zmq_msg_get(got.body.handle(), ZMQ_SRCFD));
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
  zmq::socket_t& monitor = watch_.on() ? watch_.monitor() : monitor_;  // a socket has one at most
  std::array<zmq_pollitem_t, 3> items{
      {{nullptr, bell, ZMQ_POLLIN, 0}, {socket_.handle(), 0, events, 0}, {monitor.handle(), 0, ZMQ_POLLIN, 0}}};
  zmq_poll(items.data(), monitor.handle() != nullptr ? 3 : 2, longest.count());
  return {items[0].revents != 0, (items[1].revents & ZMQ_POLLOUT) != 0};
}

void link_socket::close(milliseconds linger) {
  try {
    socket_.set(zmq::sockopt::linger, static_cast<int>(std::max<milliseconds::rep>(linger.count(), 0)));
    watch_.stop(socket_);
    if (!options_.bind) return;
    const std::string bound = socket_.get(zmq::sockopt::last_endpoint);
    if (bound.starts_with("inproc:")) return socket_.unbind(bound);
    // ZeroMQ closes a listener some time later, on a thread of its own: who binds the address meanwhile is refused or,
    // with ipc, loses the file. So wait for its word.
    const std::string news = connection_watch::fresh_address();
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
