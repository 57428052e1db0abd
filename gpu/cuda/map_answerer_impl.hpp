// Tells pullers where this rank's pages lie, and keeps those in place that they copy; also serves bytes, for pullers
// that cannot map this rank's memory.
#pragma once

#include "gpu/cuda/lease_book_impl.hpp"
#include "gpu/cuda/map_frames.hpp"
#include "gpu/cuda/model_store_impl.hpp"
#include "gpu/cuda/peers_impl.hpp"
#include "gpu/host/piece_answerer_impl.hpp"

namespace ballast::gpu::cuda {

// Threads: the server's. The stores must outlive it. Once it is to stop it serves until the last lease has ended, so
// that memory is never freed under a peer's copy: at most lease_ms more.
class map_answerer final : public host::piece_answerer {
 public:
  explicit map_answerer(const cuda_model_stores& stores);
  std::optional<zmq::message_t> answer(const zmq::message_t& request) override;
  std::optional<host::clock::time_point> tick(host::clock::time_point now) override { return leases_.expire(now); }
  bool wind_up() override {
    winding_up_ = true;
    return leases_.empty();
  }

 private:
  result<zmq::message_t> reply_to(const map_request& request, const zmq::message_t& message);
  zmq::message_t describe(const map_request& request) const;
  result<zmq::message_t> locate(const map_request& request, const zmq::message_t& message);
  map_reply head_for(const map_request& request) const;

  const cuda_model_stores& stores_;
  const std::uint64_t source_;
  lease_book leases_;
  bool winding_up_ = false;
};

}  // namespace ballast::gpu::cuda
