// Stands before an agent's page server and passes pulls on, but turns one bit round in some of what comes back: a bad
// cable between two ranks.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <zmq.hpp>

namespace ballast::test {

// Owns a thread. `flips`: replies that are still to be damaged, shared by all relays of a test.
class page_relay {
 public:
  page_relay(zmq::context_t& context, std::string address, std::string server, std::atomic<int>& flips);
  ~page_relay();
  const std::string& address() const noexcept { return address_; }

 private:
  void run();
  void pass_request(zmq::socket_t& front);
  void pass_replies(zmq::socket_t& front);

  zmq::context_t& context_;
  const std::string address_, server_;
  std::atomic<int>& flips_;
  std::atomic<bool> stopping_{false};
  std::map<std::string, zmq::socket_t> pullers_;  // by routing id: as many as pulls were made
  std::thread thread_;
};

}  // namespace ballast::test
