#include "messages/link.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "messages/link_queue_impl.hpp"
#include "messages/link_socket_impl.hpp"
#include "messages/log.hpp"
#include "messages/refusals_impl.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t batch = 64;  // messages in one direction before the other has its turn
constexpr milliseconds no_wait{0}, for_ever{-1}, shortest_retry{1}, longest_retry{32};

std::string why_closed(refusal kind, const link_security& security, const decode_limits& limits) {
  if (kind == refusal::handshake)
    return fmt::format("does not speak as it should here{}",
                       security.keys ? ": in the clear, or with the key of another server" : "");
  if (kind == refusal::unfinished)
    return fmt::format("had not said who it is within {} ms", security.limits.handshake_ms);
  return fmt::format("sent a frame of more than {} bytes or what is no frame, or fell silent", limits.frame_bytes);
}

std::string printable(const std::string& peer) {
  std::string s;
  for (const char c : peer.substr(0, 32))
    s += c >= 0x20 && c < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return s;
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

}  // namespace

struct link::impl {
  link_options options;
  handler on_message;
  const link_context& context;
  std::string address;
  link_queue queue;
  bell wake;
  std::atomic<bool> stopping{false};
  std::atomic<clock::rep> stop_by{0};  // written before stopping
  std::atomic<std::uint64_t> sent{0}, received{0}, unroutable{0}, refused_full{0};
  ballast::refusals refusals;
  std::thread thread;
  std::thread::id thread_id;  // kept apart: `thread` changes when it is joined
  std::mutex joining;

  // The link's thread only.
  milliseconds retry = shortest_retry;
  std::optional<clock::time_point> stuck_since;  // nothing could be sent from then on
  std::string user;                              // of the message that is being handled
  rate_limiter pace;

  impl(const link_context& c, link_options o, handler h)
      : options(std::move(o)),
        on_message(std::move(h)),
        context(c),
        queue(options.queue_limit, std::min<std::size_t>(options.queue_bytes, c.security().limits.queue_bytes)),
        pace(c.security().limits.messages_per_s) {}

  bool is_router() const { return options.kind == link_kind::router; }
  bool receives() const { return options.kind != link_kind::publisher; }

  status start();
  void begin(std::promise<status>& opened);
  void run(link_socket& socket);
  void wait(link_socket& socket, milliseconds longest);
  bool receive_some(link_socket& socket);
  void tell_connections(link_socket& socket);
  bool take_in(link_socket::incoming arrived);
  void look_at_connections(link_socket& socket);
  void refuse(const std::string& peer, std::uint64_t id, const error& why);
  bool too_fast(const link_socket::incoming& arrived);
  bool complain(refusal kind, const std::string& peer, const error& why);
  bool send_some(link_socket& socket);
  milliseconds leave_if_stuck(link_socket& socket);
  bool send_one(link_socket& socket, outgoing& message);
};

status link::impl::start() {
  std::promise<status> opened;
  auto ready = opened.get_future();
  // Signals belong to the main thread; a new thread inherits the mask.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread = std::thread([this, &opened] { begin(opened); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  thread_id = thread.get_id();
  status s = ready.get();
  if (!s) thread.join();
  return s;
}

void link::impl::begin(std::promise<status>& opened) {
  std::optional<link_socket> socket;
  status prepared;
  try {
    socket.emplace(*static_cast<zmq::context_t*>(context.native()), context.security(), options);
    prepared = socket->open(address);
  } catch (const std::exception& e) {
    prepared = fail(errc::unavailable, fmt::format("no socket for {}: {}", options.address, e.what()));
  }
  const bool good = prepared.has_value();
  opened.set_value(std::move(prepared));
  if (good) run(*socket);
}

void link::impl::run(link_socket& socket) {
  while (true) {
    const bool ending = stopping.load(std::memory_order_acquire);
    look_at_connections(socket);
    const bool more_in = !ending && receives() && receive_some(socket);
    const bool more_out = send_some(socket);
    const auto until_left = leave_if_stuck(socket);
    milliseconds longest = more_in || more_out ? no_wait : for_ever;
    if (queue.held_up() && is_router() && longest == for_ever) {
      // ZeroMQ does not tell when one peer of a router can take more: ask again, ever less often.
      longest = retry;
      retry = std::min(2 * retry, longest_retry);
    }
    if (longest == for_ever) longest = until_left;
    if (ending) {
      const auto by = clock::time_point(clock::duration(stop_by.load()));
      const auto left = std::chrono::ceil<milliseconds>(by - clock::now());
      if (left.count() <= 0 || queue.size() == 0) return socket.close(left);
      longest = longest == for_ever ? left : std::min(longest, left);
    }
    wait(socket, longest);
  }
}

void link::impl::wait(link_socket& socket, milliseconds longest) {
  const bool until_writable = queue.held_up() && !is_router();
  const bool until_readable = receives() && !stopping.load(std::memory_order_acquire);
  const auto woken = socket.wait(wake.fd(), until_readable, until_writable, longest);
  if (woken.rung) wake.quiet();
  if (woken.writable || is_router()) queue.release();
}

// True if there may be more to receive.
bool link::impl::receive_some(link_socket& socket) {
  for (std::size_t i = 0; i < batch && !stopping.load(std::memory_order_relaxed); ++i) {
    auto arrived = socket.receive();
    tell_connections(socket);
    if (!arrived) return false;
    if (take_in(std::move(*arrived))) socket.move_on();
  }
  return true;
}

// A router's peer beyond its rate is told once a second: answering each message would double what it costs.
bool link::impl::too_fast(const link_socket::incoming& arrived) {
  if (!options.admits || pace.admits(arrived.user.empty() ? arrived.peer : arrived.user, clock::now())) return false;
  const error why{errc::unavailable,
                  fmt::format("more than {} messages a second; send fewer, or raise peer_messages_per_s",
                              context.security().limits.messages_per_s)};
  if (complain(refusal::too_many, arrived.peer, why)) refuse(arrived.peer, 0, why);
  return true;
}

void link::impl::refuse(const std::string& peer, std::uint64_t id, const error& why) {
  if (peer.empty()) return;
  if (queue.push({peer, encode({id, options.name, refused{why}})}) == link_queue::pushed::refused)
    refused_full.fetch_add(1, std::memory_order_relaxed);
}

void link::impl::tell_connections(link_socket& socket) {
  for (const auto& [peer, open] : socket.connections().connection_news()) try {
      options.on_connection(peer, open);
    } catch (const std::exception& e) {
      log::error("link {}: a handler threw ({}); please report this", options.name, e.what());
    }
}

void link::impl::look_at_connections(link_socket& socket) {
  auto& connections = socket.connections();
  if (!connections.on()) return;
  connections.look();
  if (options.on_connection) tell_connections(socket);
  const auto taken = connections.taken();
  for (std::size_t i = 0; i < taken.size(); ++i) {
    if (taken[i] == 0) continue;
    const auto kind = static_cast<refusal>(static_cast<std::size_t>(refusal::handshake) + i);
    if (const auto times = refusals.note(kind, taken[i]))
      log::warn("link {}: closed a connection to {} ({} since the last report): it {}", options.name, address, *times,
                why_closed(kind, context.security(), options.limits));
  }
}

// True: the peer stands by, and somebody else is to be asked.
bool link::impl::take_in(link_socket::incoming arrived) {
  if (too_fast(arrived)) return false;
  const byte_view frame(static_cast<const std::byte*>(arrived.body.data()), arrived.body.size());
  result<envelope> message = arrived.several
                                 ? fail(errc::malformed, "frame: one of several; send each message as a single frame")
                                 : decode(frame, options.limits);
  if (message && options.admits) {
    if (const auto ok = options.admits(arrived.user, message->body); !ok) {
      (void)complain(refusal::forbidden, arrived.peer, ok.error());
      refuse(arrived.peer, message->id, ok.error());
      return false;
    }
  }
  if (message) {
    received.fetch_add(1, std::memory_order_relaxed);
    const bool stands_by = std::holds_alternative<standby>(message->body);
    user = std::move(arrived.user);
    try {
      on_message(arrived.peer, std::move(*message));
    } catch (const std::exception& e) {
      log::error("link {}: a handler threw ({}); the message is lost, please report this", options.name, e.what());
    }
    return stands_by;
  }
  (void)complain(refusal::malformed, arrived.peer, message.error());
  if (!arrived.peer.empty()) refuse(arrived.peer, id_of(frame, options.limits), message.error());
  return false;
}

// Counts it. True if it was logged.
bool link::impl::complain(refusal kind, const std::string& peer, const error& why) {
  const auto times = refusals.note(kind);
  if (times)
    log::warn("link {}: refused a message from {} ({} since the last report): {}", options.name,
              peer.empty() ? options.address : printable(peer), *times, why.text);
  return times.has_value();
}

// True if there may be more to send now.
bool link::impl::send_some(link_socket& socket) {
  std::vector<outgoing> messages = queue.take(batch);
  if (messages.empty()) return false;
  const bool more = messages.size() == batch;
  std::vector<outgoing> unsent;
  for (outgoing& message : messages) {
    const bool behind = std::ranges::find(unsent, message.peer, &outgoing::peer) != unsent.end();
    if (behind || !send_one(socket, message)) unsent.push_back(std::move(message));
  }
  if (unsent.size() < messages.size()) {
    retry = shortest_retry;
    stuck_since.reset();
  }
  if (!unsent.empty()) {
    if (!stuck_since) stuck_since = clock::now();
    queue.hold_up(std::move(unsent));
  }
  return more;
}

// A peer that hangs under traffic takes nothing any more, ZeroMQ's heartbeats neither. Answers when to look again.
milliseconds link::impl::leave_if_stuck(link_socket& socket) {
  if (!stuck_since || !socket.follows()) return for_ever;
  const auto now = clock::now();
  stuck_since = std::max(*stuck_since, socket.since());
  if (now - *stuck_since >= link_socket::longest_silence) {
    stuck_since = now;
    socket.move_on();
  }
  return std::chrono::ceil<milliseconds>(*stuck_since + link_socket::longest_silence - now);
}

// False: the peer takes no more at present, and the message is as it was.
bool link::impl::send_one(link_socket& socket, outgoing& message) {
  switch (socket.send(message)) {
    case link_socket::sent::done:
      sent.fetch_add(1, std::memory_order_relaxed);
      break;
    case link_socket::sent::unroutable:
      unroutable.fetch_add(1, std::memory_order_relaxed);
      if (options.on_unroutable) options.on_unroutable(message.peer);
      break;
    case link_socket::sent::failed:
      log::error("link {}: cannot send to {}: {}", options.name, options.address, zmq_strerror(zmq_errno()));
      break;
    case link_socket::sent::held_up:
      return false;
  }
  return true;
}

link::link(std::unique_ptr<impl> made) : impl_(std::move(made)) {}

link::~link() { stop(); }

result<std::unique_ptr<link>> link::open(link_context& context, link_options options, handler on_message) {
  if (options.identity.size() > 255)
    return fail(errc::invalid_argument,
                fmt::format("identity of {} bytes; at most 255 are allowed", options.identity.size()));
  if (options.queue_limit == 0) return fail(errc::invalid_argument, "a link's queue_limit must be at least 1");
  auto made = std::make_unique<impl>(context, std::move(options), std::move(on_message));
  if (!made->wake.good()) return fail(errc::io, "no eventfd for a link; raise the limit of open files");
  if (status s = made->start(); !s) return fail(s.error());
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

const std::string& link::user() const noexcept { return impl_->user; }
const std::string& link::address() const noexcept { return impl_->address; }

link_counters link::counters() const {
  const impl& self = *impl_;
  const auto& r = self.refusals;
  using enum refusal;
  return {self.sent.load(), self.received.load(), r[malformed], self.unroutable.load(), self.refused_full.load(),
          r[forbidden],     r[too_many],          r[handshake], r[unfinished],          r[cut_off]};
}

void link::stop(milliseconds linger) {
  impl& self = *impl_;
  if (!self.stopping.load()) {
    self.stop_by.store((clock::now() + linger).time_since_epoch().count());
    self.stopping.store(true, std::memory_order_release);
    self.wake.ring();
  }
  if (self.thread_id == std::this_thread::get_id()) return;
  const std::lock_guard lock(self.joining);
  if (self.thread.joinable()) self.thread.join();
}

}  // namespace ballast
