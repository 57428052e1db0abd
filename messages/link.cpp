#include "messages/link.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <future>
#include <optional>
#include <thread>
#include <zmq.hpp>

#include "messages/link_queue_impl.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int frames_in_zmq = 256;  // on each side of a connection, beyond our own queue
constexpr std::size_t batch = 64;   // messages in one direction before the other has its turn
constexpr milliseconds no_wait{0}, for_ever{-1}, shortest_retry{1}, longest_retry{32};

std::string zmq_text(const char* what, const std::string& address) {
  return fmt::format("{} {}: {}", what, address, zmq_strerror(zmq_errno()));
}

std::string printable(const std::string& peer) {
  std::string s;
  for (const char c : peer.substr(0, 32))
    s += c >= 0x20 && c < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return s;
}

// The message takes the buffer over instead of copying it.
zmq::message_t frame_of(byte_buffer bytes) {
  auto* held = new byte_buffer(std::move(bytes));
  return zmq::message_t(
      held->data(), held->size(), [](void*, void* hint) { delete static_cast<byte_buffer*>(hint); }, held);
}

// An eventfd: any thread rings, the link's thread polls it together with its socket.
class bell {
 public:
  bell() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~bell() {
    if (fd_ >= 0) close(fd_);
  }
  bell(const bell&) = delete;
  bell& operator=(const bell&) = delete;
  bool good() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void ring() { eventfd_write(fd_, 1); }  // can only fail when it is rung already
  void quiet() {
    eventfd_t count = 0;
    eventfd_read(fd_, &count);
  }

 private:
  int fd_;
};

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

}  // namespace

struct link_context::impl {
  zmq::context_t context{1, 4096};
};

link_context::link_context() : impl_(std::make_unique<impl>()) {}
link_context::~link_context() = default;
void* link_context::native() const noexcept { return &impl_->context; }

struct link::impl {
  link_options options;
  handler on_message;
  zmq::context_t& context;
  std::string address;
  link_queue queue;
  bell wake;
  std::atomic<bool> stopping{false};
  std::atomic<clock::rep> stop_by{0};  // written before stopping
  std::atomic<std::uint64_t> sent{0}, received{0}, malformed{0}, unroutable{0}, refused_full{0};
  std::thread thread;

  // The link's thread only.
  clock::time_point last_complaint{};
  std::uint64_t complaints = 0;
  milliseconds retry = shortest_retry;

  impl(zmq::context_t& c, link_options o, handler h)
      : options(std::move(o)), on_message(std::move(h)), context(c), queue(options.queue_limit, options.queue_bytes) {}

  bool is_router() const { return options.kind == link_kind::router; }
  bool receives() const { return options.kind != link_kind::publisher; }

  status prepare(zmq::socket_t& socket);
  void run(zmq::socket_t& socket);
  bool receive_some(zmq::socket_t& socket);
  bool receive_one(zmq::socket_t& socket);
  void take_in(const std::string& peer, byte_view frame, bool more_parts);
  void complain(const std::string& peer, const error& why);
  bool send_some(zmq::socket_t& socket);
  enum class attempt { done, held_up };
  attempt send_one(zmq::socket_t& socket, outgoing& message);
  void wait(zmq::socket_t& socket, milliseconds longest);
};

// On the link's thread, like everything that touches the socket.
status link::impl::prepare(zmq::socket_t& socket) {
  try {
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::sndhwm, frames_in_zmq);
    socket.set(zmq::sockopt::rcvhwm, frames_in_zmq);
    socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(options.limits.frame_bytes));
    // A host that vanished without a word is noticed, and its routing id and buffers are given up.
    socket.set(zmq::sockopt::heartbeat_ivl, 2000);
    socket.set(zmq::sockopt::heartbeat_timeout, 10000);
    socket.set(zmq::sockopt::heartbeat_ttl, 20000);
    socket.set(zmq::sockopt::tcp_keepalive, 1);
    socket.set(zmq::sockopt::reconnect_ivl, 50);
    socket.set(zmq::sockopt::reconnect_ivl_max, 1000);
    if (!options.identity.empty()) socket.set(zmq::sockopt::routing_id, options.identity);
    if (options.kind == link_kind::subscriber) socket.set(zmq::sockopt::subscribe, "");
    if (is_router()) {
      socket.set(zmq::sockopt::router_mandatory, true);
      socket.set(zmq::sockopt::router_handover, true);
    }
    if (options.bind)
      socket.bind(options.address);
    else
      socket.connect(options.address);
    address = socket.get(zmq::sockopt::last_endpoint);
    return {};
  } catch (const zmq::error_t&) {
    const bool mine = zmq_errno() == EINVAL || zmq_errno() == EPROTONOSUPPORT;
    return fail(mine ? errc::invalid_argument : errc::unavailable,
                zmq_text(options.bind ? "cannot bind" : "cannot connect to", options.address));
  }
}

void link::impl::run(zmq::socket_t& socket) {
  while (true) {
    const bool ending = stopping.load(std::memory_order_acquire);
    const bool more_in = !ending && receives() && receive_some(socket);
    const bool more_out = send_some(socket);
    milliseconds longest = more_in || more_out ? no_wait : for_ever;
    if (queue.held_up() && is_router() && longest == for_ever) {
      // ZeroMQ does not tell when one peer of a router can take more: ask again, ever less often.
      longest = retry;
      retry = std::min(2 * retry, longest_retry);
    }
    if (ending) {
      const auto left =
          std::chrono::ceil<milliseconds>(clock::time_point(clock::duration(stop_by.load())) - clock::now());
      if (left.count() <= 0 || queue.size() == 0) {
        socket.set(zmq::sockopt::linger, static_cast<int>(std::max<milliseconds::rep>(left.count(), 0)));
        return;
      }
      longest = longest == for_ever ? left : std::min(longest, left);
    }
    wait(socket, longest);
  }
}

void link::impl::wait(zmq::socket_t& socket, milliseconds longest) {
  const bool until_writable = queue.held_up() && !is_router();
  const bool until_readable = receives() && !stopping.load(std::memory_order_acquire);
  const auto events = static_cast<short>((until_readable ? ZMQ_POLLIN : 0) | (until_writable ? ZMQ_POLLOUT : 0));
  std::array<zmq_pollitem_t, 2> items{{{nullptr, wake.fd(), ZMQ_POLLIN, 0}, {socket.handle(), 0, events, 0}}};
  zmq_poll(items.data(), static_cast<int>(items.size()), longest.count());  // interrupted or not: look again
  if (items[0].revents) wake.quiet();
  if (items[1].revents & ZMQ_POLLOUT || is_router()) queue.release();
}

// True if there may be more to receive.
bool link::impl::receive_some(zmq::socket_t& socket) {
  for (std::size_t i = 0; i < batch && !stopping.load(std::memory_order_relaxed); ++i)
    if (!receive_one(socket)) return false;
  return true;
}

bool link::impl::receive_one(zmq::socket_t& socket) {
  zmq::message_t frame;
  std::string peer;
  const auto next = [&] {
    int got = -1;
    do got = zmq_msg_recv(frame.handle(), socket.handle(), ZMQ_DONTWAIT);
    while (got < 0 && zmq_errno() == EINTR);
    return got >= 0;
  };
  if (!next()) return false;
  if (is_router()) {
    peer = frame.to_string();
    if (!frame.more() || !next()) return true;
  }
  const zmq::message_t body = std::move(frame);
  bool more_parts = body.more();
  const bool several = more_parts;
  while (more_parts) {  // parts of one message arrive together
    frame.rebuild();
    more_parts = next() && frame.more();
  }
  take_in(peer, {static_cast<const std::byte*>(body.data()), body.size()}, several);
  return true;
}

void link::impl::take_in(const std::string& peer, byte_view frame, bool more_parts) {
  result<envelope> message = more_parts
                                 ? fail(errc::malformed, "frame: one of several; send each message as a single frame")
                                 : decode(frame, options.limits);
  if (message) {
    received.fetch_add(1, std::memory_order_relaxed);
    try {
      on_message(peer, std::move(*message));
    } catch (const std::exception& e) {
      log::error("link {}: a handler threw ({}); the message is lost, please report this", options.name, e.what());
    }
    return;
  }
  malformed.fetch_add(1, std::memory_order_relaxed);
  complain(peer, message.error());
  if (!is_router() || peer.empty()) return;
  envelope answer{id_of(frame, options.limits), options.name, refused{message.error()}};
  if (queue.push({peer, encode(answer)}) == link_queue::pushed::refused)
    refused_full.fetch_add(1, std::memory_order_relaxed);
}

void link::impl::complain(const std::string& peer, const error& why) {
  ++complaints;
  const auto now = clock::now();
  if (last_complaint != clock::time_point{} && now - last_complaint < std::chrono::seconds(1)) return;
  log::warn("link {}: refused a message from {} ({} since the last report): {}", options.name,
            peer.empty() ? options.address : printable(peer), complaints, why.text);
  last_complaint = now;
  complaints = 0;
}

// True if there may be more to send now.
bool link::impl::send_some(zmq::socket_t& socket) {
  std::vector<outgoing> messages = queue.take(batch);
  if (messages.empty()) return false;
  const bool more = messages.size() == batch;
  std::vector<outgoing> unsent;
  for (outgoing& message : messages) {
    const bool behind =
        std::any_of(unsent.begin(), unsent.end(), [&](const outgoing& u) { return u.peer == message.peer; });
    if (behind || send_one(socket, message) == attempt::held_up) unsent.push_back(std::move(message));
  }
  if (unsent.size() < messages.size()) retry = shortest_retry;
  if (!unsent.empty()) queue.hold_up(std::move(unsent));
  return more;
}

link::impl::attempt link::impl::send_one(zmq::socket_t& socket, outgoing& message) {
  const auto push = [&](zmq::message_t& part, int flags) {
    int done = -1;
    do done = zmq_msg_send(part.handle(), socket.handle(), flags | ZMQ_DONTWAIT);
    while (done < 0 && zmq_errno() == EINTR);
    return done >= 0;
  };
  if (is_router()) {  // once the first part is taken, the second cannot be held up
    zmq::message_t to(message.peer);
    if (!push(to, ZMQ_SNDMORE)) {
      if (zmq_errno() == EAGAIN) return attempt::held_up;
      unroutable.fetch_add(1, std::memory_order_relaxed);
      return attempt::done;
    }
  }
  zmq::message_t frame = frame_of(std::move(message.frame));
  if (push(frame, 0)) {
    sent.fetch_add(1, std::memory_order_relaxed);
    return attempt::done;
  }
  if (zmq_errno() == EAGAIN && !is_router()) {
    const auto* data = static_cast<const std::byte*>(frame.data());
    message.frame.assign(data, data + frame.size());
    return attempt::held_up;
  }
  log::error("link {}: {}", options.name, zmq_text("cannot send to", options.address));
  return attempt::done;
}

link::link(std::unique_ptr<impl> made) : impl_(std::move(made)) {}

link::~link() { stop(); }

result<std::unique_ptr<link>> link::open(link_context& context, link_options options, handler on_message) {
  if (options.identity.size() > 255)
    return fail(errc::invalid_argument,
                fmt::format("identity of {} bytes; at most 255 are allowed", options.identity.size()));
  if (options.queue_limit == 0) return fail(errc::invalid_argument, "a link's queue_limit must be at least 1");
  auto made = std::make_unique<impl>(*static_cast<zmq::context_t*>(context.native()), std::move(options),
                                     std::move(on_message));
  if (!made->wake.good()) return fail(errc::io, "no eventfd for a link; raise the limit of open files");
  std::promise<status> opened;
  auto ready = opened.get_future();
  // Signals belong to the main thread; a new thread inherits the mask.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  made->thread = std::thread([self = made.get(), &opened] {
    std::optional<zmq::socket_t> socket;
    status prepared;
    try {
      socket.emplace(self->context, socket_type(self->options.kind));
      prepared = self->prepare(*socket);
    } catch (const std::exception& e) {
      prepared = fail(errc::unavailable, fmt::format("no socket for {}: {}", self->options.address, e.what()));
    }
    const bool good = prepared.has_value();
    opened.set_value(std::move(prepared));
    if (good) self->run(*socket);
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (status s = ready.get(); !s) {
    made->thread.join();
    return fail(s.error());
  }
  return std::unique_ptr<link>(new link(std::move(made)));
}

status link::send(const std::string& peer, const envelope& message) {
  impl& self = *impl_;
  if (self.options.kind == link_kind::subscriber || self.is_router() == peer.empty())
    return fail(errc::invalid_argument,
                fmt::format("link {}: cannot send to peer \"{}\" from here; routers name a peer, "
                            "dealers and publishers none, subscribers only receive",
                            self.options.name, printable(peer)));
  if (self.stopping.load(std::memory_order_acquire))
    return fail(errc::unavailable, fmt::format("link {} is stopped", self.options.name));
  byte_buffer frame = encode(message);
  if (frame.size() > self.options.limits.frame_bytes)
    return fail(errc::does_not_fit,
                fmt::format("a {} of {} bytes; a frame holds at most {}", message_name(message.body), frame.size(),
                            self.options.limits.frame_bytes));
  switch (self.queue.push({peer, std::move(frame)})) {
    case link_queue::pushed::queued_first:
      self.wake.ring();
      break;
    case link_queue::pushed::queued:
      break;
    case link_queue::pushed::refused:
      self.refused_full.fetch_add(1, std::memory_order_relaxed);
      return fail(errc::unavailable, fmt::format("link {}: the queue to {} is full; try again later", self.options.name,
                                                 peer.empty() ? self.options.address : printable(peer)));
  }
  return {};
}

const std::string& link::address() const noexcept { return impl_->address; }

link_counters link::counters() const {
  const impl& self = *impl_;
  return {self.sent.load(), self.received.load(), self.malformed.load(), self.unroutable.load(),
          self.refused_full.load()};
}

void link::stop(milliseconds linger) {
  impl& self = *impl_;
  if (!self.stopping.load()) {
    self.stop_by.store((clock::now() + linger).time_since_epoch().count());
    self.stopping.store(true, std::memory_order_release);
    self.wake.ring();
  }
  if (self.thread.joinable() && self.thread.get_id() != std::this_thread::get_id()) self.thread.join();
}

}  // namespace ballast
