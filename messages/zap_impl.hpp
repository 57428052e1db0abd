// Answers ZeroMQ's question whether a key may connect (ZeroMQ's RFC 27): one thread for a context.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <zmq.hpp>

#include "messages/complaints.hpp"
#include "messages/security.hpp"

namespace ballast {

// Ends before its context does. Who is let in is known on its socket as user_of(role, name); who is not is counted and
// logged, once a second at most, by its public key.
class zap_handler {
 public:
  // `allowed` must outlive the handler. Errors: conflict (the context has a handler), io.
  static result<std::unique_ptr<zap_handler>> start(zmq::context_t& context,
                                                    const std::map<std::string, allowed_peer>& allowed);
  ~zap_handler();
  zap_handler(const zap_handler&) = delete;
  zap_handler& operator=(const zap_handler&) = delete;

  std::uint64_t turned_away() const { return turned_away_.load(std::memory_order_relaxed); }

 private:
  explicit zap_handler(const std::map<std::string, allowed_peer>& allowed) : allowed_(allowed) {}
  void run(zmq::socket_t requests);
  void answer(zmq::socket_t& requests);
  const allowed_peer* find(const std::string& domain, const std::string& mechanism, const std::string& key) const;
  void complain(const std::string& address, const std::string& key);

  const std::map<std::string, allowed_peer>& allowed_;
  int wake_ = -1;
  std::atomic<std::uint64_t> turned_away_{0};
  std::thread thread_;

  complaints complaints_;  // the thread only
};

}  // namespace ballast
