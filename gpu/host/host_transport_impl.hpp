// Pulls pages and dense weights from other ranks' page servers, and serves this rank's.
#pragma once

#include <memory>

#include "gpu/host/model_state.hpp"
#include "gpu/host/piece_answerer_impl.hpp"
#include "gpu/host/piece_puller_impl.hpp"
#include "gpu/transport.hpp"

namespace ballast::gpu::host {

class host_transport final : public weight_transport {
 public:
  static result<std::unique_ptr<host_transport>> open(const wire_context& context, const address_pattern& pattern,
                                                      model_states& models, std::uint64_t bytes_per_s);
  const std::string& address() const noexcept override { return server_->address(); }
  result<std::uint64_t> pull(const std::string& source, model_index model, page_key key, page_index page,
                             std::chrono::milliseconds deadline) override;
  pull_results pull_many(const std::string& source, std::span<const pull_item> items,
                         std::chrono::milliseconds deadline) override;  // a cancel between two items ends it
  result<std::vector<std::byte>> pull_dense(const std::string& source, model_index model,
                                            std::chrono::milliseconds deadline) override;
  void cancel() noexcept override { stop_.cancel(); }

 private:
  host_transport(const wire_context& context, model_states& models, std::uint64_t bytes_per_s)
      : models_(models), speed_(bytes_per_s), puller_(context, stop_, speed_), answerer_(served(models)) {}
  result<std::uint64_t> pull_one(const std::string& source, const pull_item& item, std::chrono::milliseconds deadline);

  model_states& models_;
  cancellation stop_;
  pace speed_;
  piece_puller puller_;
  piece_answerer answerer_;
  std::unique_ptr<request_server> server_;  // uses the answerer: it goes first
};

}  // namespace ballast::gpu::host
