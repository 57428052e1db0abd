// Answers requests for bytes of resident pages and of dense weights.
#pragma once

#include <atomic>

#include "gpu/host/request_server_impl.hpp"
#include "gpu/host/served_model.hpp"
#include "gpu/host/transport_frames.hpp"

namespace ballast::gpu::host {

zmq::message_t make_refusal(std::uint64_t id, const error& why);  // a pull_reply and a sentence

// Threads: answer() one; the counter any. The models must outlive it.
class piece_answerer : public answerer {
 public:
  explicit piece_answerer(served_models models) : models_(std::move(models)) {}
  std::optional<zmq::message_t> answer(const zmq::message_t& request) override;
  std::uint64_t malformed() const noexcept { return malformed_; }  // requests that did not parse

 private:
  result<zmq::message_t> reply_to(const pull_request& request) const;
  result<zmq::message_t> page_piece(const served_model& model, const pull_request& request) const;
  result<zmq::message_t> dense_piece(const served_model& model, const pull_request& request) const;

  const served_models models_;
  std::atomic<std::uint64_t> malformed_{0};
};

}  // namespace ballast::gpu::host
