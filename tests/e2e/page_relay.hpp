// Stands before an agent's page server and passes pulls on, but turns one bit round in some of what comes back: a bad
// cable between two ranks.
#pragma once

#include <atomic>
#include <memory>
#include <string>

namespace ballast::test {

// Owns a thread. `flips`: replies that are still to be damaged, shared by all relays of a test.
class page_relay {
 public:
  // zmq_context: a zmq::context_t*, which outlives the relay.
  page_relay(void* zmq_context, std::string address, std::string server, std::atomic<int>& flips);
  ~page_relay();
  const std::string& address() const noexcept;

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast::test
