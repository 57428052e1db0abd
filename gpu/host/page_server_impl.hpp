// Serves a rank's resident pages and dense weights to other ranks from a thread of its own.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "gpu/host/model_state.hpp"
#include "gpu/host/sockets_impl.hpp"
#include "gpu/host/transport_frames.hpp"

namespace ballast::gpu::host {

// Threads: start, address and destruction by the owner; counters by any. `models` must outlive it.
class page_server {
 public:
  static result<std::unique_ptr<page_server>> start(zmq::context_t& context, const address_pattern& pattern,
                                                    const model_states& models);
  ~page_server();
  const std::string& address() const noexcept { return address_; }
  std::uint64_t malformed() const noexcept { return malformed_; }      // requests that did not parse
  std::uint64_t undelivered() const noexcept { return undelivered_; }  // replies to pullers that had gone or were full

 private:
  page_server(bound_socket socket, const model_states& models);
  void serve();
  void answer(zmq::message_t peer, const zmq::message_t& request);
  result<zmq::message_t> reply_to(const pull_request& request) const;
  result<zmq::message_t> page_piece(const model_state& model, const pull_request& request) const;
  result<zmq::message_t> dense_piece(const model_state& model, const pull_request& request) const;

  bound_socket socket_;
  const std::string address_;
  const model_states& models_;
  bell stop_bell_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> malformed_{0}, undelivered_{0};
  std::thread thread_;
};

}  // namespace ballast::gpu::host
