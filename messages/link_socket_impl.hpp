// The ZeroMQ socket of a link: its options, one message in, one message out, and an end that leaves the address free.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "messages/connection_watch_impl.hpp"
#include "messages/link.hpp"
#include "messages/link_queue_impl.hpp"

namespace ballast {

// Created, used and destroyed on the link's thread.
class link_socket {
 public:
  struct incoming {
    std::string peer;      // router only
    std::string user;      // router with keys only: what the peer was authenticated as
    zmq::message_t body;   // the first part after the routing id
    bool several = false;  // more parts followed; they are gone
  };
  enum class sent { done, held_up, unroutable, failed };

  link_socket(zmq::context_t& context, const link_security& security,
              const link_options& options);  // throws zmq::error_t
  // Binds or connects; afterwards `address` has the real port.
  status open(std::string& address);

  std::optional<incoming> receive();                  // none: nothing has arrived
  connection_watch& connections() { return watch_; }  // of a bound socket, but inproc
  sent send(outgoing& message);                       // held_up: `message` is as it was
  // Whether there are several addresses to be connected to in turn. A peer is left that is silent for so long.
  bool follows() const { return options_.kind == link_kind::dealer && addresses_.size() > 1; }
  static constexpr std::chrono::milliseconds longest_silence{2000};
  // Leaves the address that it is connected to for the next one; nothing where there is only one.
  void move_on();
  std::chrono::steady_clock::time_point since() const { return since_; }  // it is connected to that one
  // Sleeps until the socket or `bell` has something, `longest` passed (negative: for ever) or a signal came. True if a
  // dealer can send again.
  struct woken {
    bool rung = false, writable = false;
  };
  woken wait(int bell, bool until_readable, bool until_writable, std::chrono::milliseconds longest);
  // The destructor then lets ZeroMQ send what it holds for so long. The address can be bound anew at once.
  void close(std::chrono::milliseconds linger);

 private:
  bool is_router() const { return options_.kind == link_kind::router; }
  void set_options();
  status connect_all();
  void watch_own();
  void follow();

  const link_security& security_;
  const link_options& options_;
  zmq::context_t& context_;
  zmq::socket_t socket_;
  connection_watch watch_;              // of those that others made
  zmq::socket_t monitor_;               // of its own, where it follows
  std::vector<std::string> addresses_;  // of who may be connected to
  std::size_t at_ = 0;                  // which of them a dealer is connected to,
  std::string connected_;               // as ZeroMQ knows it,
  std::chrono::steady_clock::time_point since_{};
};

}  // namespace ballast
