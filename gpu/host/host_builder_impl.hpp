// Opens and connects communicators of the host backend.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "gpu/host/host_communicator_impl.hpp"

namespace ballast::gpu::host {

class host_builder final : public communicator_builder {
 public:
  host_builder(const wire_context& context, address_pattern pattern, comm_limits limits)
      : context_(context), pattern_(std::move(pattern)), limits_(std::move(limits)) {}

  result<std::string> open(epoch_t epoch) override;
  result<std::unique_ptr<communicator>> connect(epoch_t epoch, seat_id self, const std::vector<member>& members,
                                                std::chrono::milliseconds deadline) override;
  void cancel(epoch_t epoch) noexcept override;

 private:
  struct half {
    std::optional<bound_socket> inbound;  // none while connect() has it
    std::shared_ptr<comm_signals> signals;
  };
  result<std::unique_ptr<communicator>> join(epoch_t epoch, seat_id self, const std::vector<member>& members, half mine,
                                             clock::time_point until);
  void forget(epoch_t epoch) noexcept;

  const wire_context& context_;
  const address_pattern pattern_;
  const comm_limits limits_;
  std::mutex mutex_;
  std::map<epoch_t, half> halves_;  // guarded by mutex_; one for every epoch opened and not yet connected or cancelled
};

}  // namespace ballast::gpu::host
