// Opens and connects communicators of the cuda backend.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "gpu/cuda/nccl_link_impl.hpp"
#include "gpu/host/host_builder_impl.hpp"

namespace ballast::gpu::cuda {

class cuda_builder final : public communicator_builder {
 public:
  // All three must outlive the builder and its communicators.
  static result<std::unique_ptr<cuda_builder>> make(int ordinal, host::host_builder& links, exchange_memory& exchange,
                                                    nccl_exchange& nccl, exchange_kind wish);

  result<std::string> open(epoch_t epoch) override;
  result<std::unique_ptr<communicator>> connect(epoch_t epoch, seat_id self, const std::vector<member>& members,
                                                std::chrono::milliseconds deadline) override;
  void cancel(epoch_t epoch) noexcept override;

 private:
  struct half {
    std::uint32_t lane = 0;
    bool connecting = false;
  };
  cuda_builder(int ordinal, host::host_builder& links, exchange_memory& exchange, nccl_exchange& nccl,
               exchange_kind wish)
      : ordinal_(ordinal), links_(links), exchange_(exchange), nccl_(nccl), wish_(wish) {}
  result<std::unique_ptr<communicator>> join(epoch_t epoch, seat_id self, const std::vector<member>& members,
                                             const half& mine, host::clock::time_point until);
  result<exchange_kind> read_halves(std::vector<member>& members, std::vector<exchange_half>& halves) const;
  status join_peers(const std::vector<exchange_half>& halves, cuda_communicator::parts& parts,
                    host::clock::time_point until);
  // Every member writes to every other once, and checks what it was sent.
  status prove(const cuda_communicator::parts& parts, host::clock::time_point until);
  void forget(epoch_t epoch) noexcept;

  const int ordinal_;
  host::host_builder& links_;
  exchange_memory& exchange_;
  nccl_exchange& nccl_;
  const exchange_kind wish_;
  stream stream_;  // of the proving exchange, beside the running steps
  event event_;
  memory step_, mismatches_;  // pinned
  std::mutex mutex_;
  std::map<epoch_t, half> halves_;  // guarded by mutex_
};

}  // namespace ballast::gpu::cuda
