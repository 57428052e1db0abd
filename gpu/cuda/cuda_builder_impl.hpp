// Opens and connects communicators of the cuda backend.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "gpu/cuda/cuda_communicator_impl.hpp"
#include "gpu/host/host_builder_impl.hpp"

namespace ballast::gpu::cuda {

class cuda_builder final : public communicator_builder {
 public:
  // Both must outlive the builder and its communicators.
  static result<std::unique_ptr<cuda_builder>> make(int ordinal, host::host_builder& links, exchange_memory& exchange);

  result<std::string> open(epoch_t epoch) override;
  result<std::unique_ptr<communicator>> connect(epoch_t epoch, seat_id self, const std::vector<member>& members,
                                                std::chrono::milliseconds deadline) override;
  void cancel(epoch_t epoch) noexcept override;

 private:
  struct half {
    std::uint32_t lane = 0;
    std::shared_ptr<stop_word> stop;
    bool connecting = false;
  };
  cuda_builder(int ordinal, host::host_builder& links, exchange_memory& exchange)
      : ordinal_(ordinal), links_(links), exchange_(exchange) {}
  result<std::unique_ptr<communicator>> join(epoch_t epoch, seat_id self, const std::vector<member>& members,
                                             const half& mine, host::clock::time_point until);
  status map_members(const std::vector<exchange_half>& halves, cuda_communicator::parts& parts);
  // Every member writes to every other once, and checks what it was sent.
  status prove(const cuda_communicator::parts& parts, host::clock::time_point until);
  void forget(epoch_t epoch) noexcept;

  const int ordinal_;
  host::host_builder& links_;
  exchange_memory& exchange_;
  stream stream_;  // of the proving exchange, beside the running steps
  event event_;
  memory step_, mismatches_;  // pinned
  std::mutex mutex_;
  std::map<epoch_t, half> halves_;  // guarded by mutex_
};

}  // namespace ballast::gpu::cuda
