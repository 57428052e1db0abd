// A communicator of GPUs. Headers, parking and the news that a member gave up travel over the host backend's sockets;
// rows and answers are written by kernels straight into the members' memory, which signal each other there, or travel
// in blocks by NCCL where that cannot be.
#pragma once

#include <memory>
#include <vector>

#include "gpu/cuda/exchange_impl.hpp"
#include "gpu/host/host_communicator_impl.hpp"

namespace ballast::gpu::cuda {

class nccl_link;

class cuda_communicator final : public communicator {
 public:
  struct parts {
    std::unique_ptr<host::host_communicator> links;
    std::vector<std::shared_ptr<mapping>> peers;  // by rank; none with NCCL
    std::vector<member_view> views;               // by rank
    std::vector<const float*> answers;            // by rank, as step_view::answers
    std::unique_ptr<nccl_link> nccl;              // null: kernels reach the members' memory
    exchange_memory* exchange = nullptr;          // outlives the communicator
    std::uint32_t lane = 0;
    stop_word stop{nullptr};
  };
  explicit cuda_communicator(parts made);
  // With NCCL: half a second, on a thread that issues no steps.
  ~cuda_communicator() override;

  epoch_t epoch() const noexcept override { return made_.links->epoch(); }
  std::uint32_t rank() const noexcept override { return made_.links->rank(); }
  const std::vector<seat_id>& members() const noexcept override { return made_.links->members(); }
  result<bool> wait_for_peer() override { return made_.links->wait_for_peer(); }
  bool peer_has_begun() override { return made_.links->peer_has_begun(); }
  step_t peer_step() const override { return made_.links->peer_step(); }
  status exchange_headers(const step_header& mine, std::span<step_header> out) override {
    return made_.links->exchange_headers(mine, out);
  }
  void wake() noexcept override { made_.links->wake(); }
  void abort() noexcept override {
    made_.links->abort();
    made_.stop.raise();
  }

  // Below: for the backend, on the issuing thread.
  host::host_communicator& links() noexcept { return *made_.links; }
  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(made_.views.size()); }
  const std::vector<member_view>& views() const noexcept { return made_.views; }
  const std::vector<const float*>& answers() const noexcept { return made_.answers; }
  nccl_link* nccl() const noexcept { return made_.nccl.get(); }
  stop_word stop() const noexcept { return made_.stop; }
  // Signals of each kind so far; the members count alike, since they run the same layers.
  std::uint64_t sequence() const noexcept { return sequence_; }
  void advance(std::uint32_t layers) noexcept { sequence_ += layers; }

 private:
  parts made_;
  std::uint64_t sequence_ = 1;  // the proving exchange was the first
};

}  // namespace ballast::gpu::cuda
