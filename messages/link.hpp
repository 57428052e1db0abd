// One ZeroMQ socket owned by one thread. Everybody else owns a queue: send() pushes and rings, and what arrives is
// given to one callback on the link's thread. This is the only way ZeroMQ is used for messages in Ballast.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "messages/codec.hpp"
#include "messages/security.hpp"

namespace ballast {

// Shared by the links of a process, so that inproc:// addresses meet. Must outlive every link made from it.
class link_context {
 public:
  link_context();
  ~link_context();
  link_context(const link_context&) = delete;
  link_context& operator=(const link_context&) = delete;
  void* native() const noexcept;  // zmq::context_t*, for the data plane in gpu/host

  // What links and the data plane do from then on; call it before the first of them is made. Until then sockets are
  // plain, and only on loopback. Errors: conflict (secured already), io.
  status secure(link_security security);
  const link_security& security() const noexcept;
  std::uint64_t turned_away() const noexcept;  // connections whose key is not on the list

  // For sockets of the data plane (zmq::socket_t*): keys and a limit on handshakes, before they are bound or connected.
  // Answers the address to bind or connect to. Errors: invalid_argument, with the remedy.
  result<std::string> prepare_data(void* socket, const std::string& address, bool bind) const;
  // A bound address as others are to be told of it: with the key that they will meet there, if there is one.
  std::string announced(const std::string& bound) const;

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

enum class link_kind { dealer, router, publisher, subscriber };

struct link_options {
  link_kind kind = link_kind::dealer;
  std::string address;  // tcp://host:port (port * when binding), ipc://path, inproc://name
  // A dealer may be given several, with commas between: it is connected to one, and goes on to the next when that one
  // is not there, has gone, hangs for two seconds, or answers `standby`. What was on its way is lost. A subscriber is
  // connected to all of them. Not for inproc.
  bool bind = false;
  std::string identity;  // dealer: routing id; empty: drawn by ZeroMQ
  std::string name;      // sender field of what goes out, and in logs
  // Dealer: an empty frame opens every connection, so that a router that watches knows whose connection it is. What is
  // on its way when a connection breaks is lost.
  bool announce = false;
  // Router: told, on the link's thread, when an announced peer's connection has begun and when it was closed (a process
  // that ends closes its own at once, even by SIGKILL). Not over inproc. Must not block. None: empty frames are malformed.
  std::function<void(const std::string& peer, bool open)> on_connection;
  // Router: told, on the link's thread, of a peer that a message could not be sent to because it is gone. Must not block.
  std::function<void(const std::string& peer)> on_unroutable;
  // What may wait to be sent, for each peer; at either bound send() answers unavailable and drops nothing queued. A
  // peer with nothing waiting can always be sent one message. ZeroMQ holds up to 256 frames more on each side.
  std::size_t queue_limit = 4096;
  std::size_t queue_bytes = std::size_t{128} << 20;
  decode_limits limits{};
  // Of a router that serves others: who may send what, judged by what a connection was authenticated as, at most
  // peer_limits::messages_per_s. A refused message is counted, logged like one that does not decode, and answered with
  // `refused` (those that are too many: once a second). Null: everybody everything.
  admission admits = nullptr;
};

struct link_counters {
  std::uint64_t sent = 0, received = 0, malformed = 0, unroutable = 0, refused_full = 0;
  std::uint64_t forbidden = 0;  // from peers whose role may not send it
  std::uint64_t too_many = 0;   // from peers that sent more a second than they may
  // Connections to a bound socket (not inproc) that were closed here, with whatever they had to say. Logged, too.
  std::uint64_t handshake = 0;   // spoke another protocol: in the clear where keys are needed, keys of another server
  std::uint64_t unfinished = 0;  // had not said who they are within handshake_ms
  std::uint64_t cut_off = 0;     // sent a frame over the limit or bytes that are no frames, or fell silent
};

// What a process refuses at a link and, by its list of keys, at every socket of the context; for the status.
refusal_counts refusals_of(const link_counters& at, const link_context& context);

class link {
 public:
  // Called on the link's thread; must not block. `peer` is the routing id (router), empty otherwise.
  using handler = std::function<void(const std::string& peer, envelope message)>;

  // A frame that does not decode is counted and logged (once a second at most); a router answers it with `refused`.
  static result<std::unique_ptr<link>> open(link_context& context, link_options options, handler on_message);
  ~link();  // stops
  link(const link&) = delete;
  link& operator=(const link&) = delete;

  // Any thread; never blocks. peer: routing id (router), empty otherwise. Errors: unavailable (queue full, stopped),
  // does_not_fit (larger than limits.frame_bytes), invalid_argument (a peer where there is none, or the reverse).
  // A router's message to a peer that has gone is counted as unroutable.
  status send(const std::string& peer, const envelope& message);

  // In the handler: what the peer of this message was authenticated as, "client/alice"; empty: not at all.
  const std::string& user() const noexcept;
  // The bound address with its real port, and with the key that is expected there, if there is one.
  const std::string& address() const noexcept;
  link_counters counters() const;

  // Sends what is queued, for `linger` at most, then closes the socket and joins the thread. Idempotent. Called from
  // the handler it only asks the thread to end; the destructor may not be called there.
  void stop(std::chrono::milliseconds linger = std::chrono::milliseconds(100));

 private:
  struct impl;
  explicit link(std::unique_ptr<impl> made);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast
