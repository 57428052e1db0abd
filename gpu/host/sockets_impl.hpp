// The few things that the host backend does with ZeroMQ sockets, as values instead of exceptions.
#pragma once

#include <chrono>
#include <initializer_list>
#include <optional>
#include <string>
#include <zmq.hpp>

#include "gpu/device.hpp"
#include "gpu/host/bell.hpp"
#include "messages/result.hpp"

namespace ballast::gpu::host {

using clock = std::chrono::steady_clock;

// What a rank opens is named after a pattern (device_options::bind), the process and a number, so that no two collide.
struct address_pattern {
  std::string bind;
  std::string advertise;
};

// Where a rank's sockets come from: the process's context or one of its own, and what guards them.
struct wire_context {
  zmq::context_t& zmq;
  socket_guard guard;
};

// A bound socket; its file, if it is an ipc one, goes with it. Threads: one at a time, handed over with a full fence.
struct bound_socket {
  zmq::socket_t socket;
  std::string address;  // as others reach it
  std::string file;

  bound_socket() = default;
  bound_socket(bound_socket&&) = default;
  bound_socket& operator=(bound_socket&& other) noexcept;
  ~bound_socket();
};

struct socket_limits {
  int queue = 64;                // messages, each way and peer; a sender at the bound waits
  std::int64_t frame = 1 << 28;  // bytes of one received message; more closes the connection
};

// Errors: invalid_argument (pattern, or the guard's refusal), io (the address cannot be bound).
result<bound_socket> open_bound(const wire_context& context, zmq::socket_type type, const address_pattern& pattern,
                                const std::string& purpose, const socket_limits& limits);
// Errors: unavailable (address that cannot be used), invalid_argument (the guard's refusal).
result<zmq::socket_t> open_connected(const wire_context& context, zmq::socket_type type, const std::string& address,
                                     const socket_limits& limits);

enum class sent { yes, full, failed };
sent try_send(zmq::socket_t& socket, zmq::message_t& message, bool more = false) noexcept;
bool try_receive(zmq::socket_t& socket, zmq::message_t& message) noexcept;  // false: nothing there

// Parks until `socket` shows one of `events`, the bell rings (it is made quiet), or `until` passes (none: for ever).
void wait(zmq::socket_t& socket, short events, bell& interrupt, std::optional<clock::time_point> until) noexcept;

}  // namespace ballast::gpu::host
