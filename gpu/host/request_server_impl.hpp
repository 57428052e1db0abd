// Answers other ranks' requests, one message each, from a thread of its own: the rank's forward takes no part.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "gpu/host/sockets_impl.hpp"

namespace ballast::gpu::host {

// What a server says. Threads: every function on the server's thread.
class answerer {
 public:
  virtual ~answerer() = default;
  virtual void begin() {}  // first on the thread
  // The reply to a request; none: it wants no reply. A request that was no single message comes empty.
  virtual std::optional<zmq::message_t> answer(const zmq::message_t& request) = 0;
  // Does what is due, and says when it wants to be called again (none: with the next request).
  virtual std::optional<clock::time_point> tick(clock::time_point) { return std::nullopt; }
  // Called once the server is to stop, until it says true: nothing new is begun, and what must be ended has been.
  virtual bool wind_up() { return true; }
};

// Threads: start, address and destruction by the owner; counters by any. `says` must outlive it.
class request_server {
 public:
  static result<std::unique_ptr<request_server>> start(const wire_context& context, const address_pattern& pattern,
                                                       answerer& says);
  ~request_server();  // when the answerer has wound up
  const std::string& address() const noexcept { return address_; }
  std::uint64_t undelivered() const noexcept { return undelivered_; }  // replies to pullers that had gone or were full

 private:
  request_server(bound_socket socket, answerer& says);
  void serve();
  void read_all();

  bound_socket socket_;
  const std::string address_;
  answerer& says_;
  bell stop_bell_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> undelivered_{0};
  std::thread thread_;
};

}  // namespace ballast::gpu::host
