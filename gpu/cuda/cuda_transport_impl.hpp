// Pulls pages from other ranks with the copy engines where their memory can be mapped, as messages where it cannot; and
// serves this rank's pages and dense weights.
#pragma once

#include <memory>

#include "gpu/cuda/map_answerer_impl.hpp"
#include "gpu/cuda/mapped_pull_impl.hpp"
#include "gpu/host/piece_puller_impl.hpp"
#include "gpu/host/request_server_impl.hpp"
#include "gpu/transport.hpp"

namespace ballast::gpu::cuda {

struct cuda_transport_options {
  int ordinal = 0;
  std::uint64_t bytes_per_s = 0;  // of this rank's pulls; 0: as fast as they go
  std::uint64_t piece_bytes = 12u << 20;  // of one copy, where bytes_per_s limits
  const std::uint32_t* rhythm = nullptr;  // of steps beside the pulls: limited ones go by it; null: there are none
  bool allow_mappings = true;     // false: everything as messages
  bool verify = true;             // false: copied pages are published without a checksum of what arrived
};

// Threads: as weight_transport says; counts() any. The stores must outlive it; its destruction waits for the leases of
// peers that copy (map_frames.hpp).
// What is paid when: the first pull from a source maps its pages of that model (20 to 34 ms where they lie on another
// GPU) unless warm() or pull_dense() has done so; later ones pay nothing. A source that has gone is noticed, and its
// mappings are closed, at the pulls that follow. Pages come in batches of up to 160 MiB, or of what comes in a
// millisecond where their speed is limited, three under way; a batch is published once the GPU has summed it.
class cuda_transport final : public weight_transport {
 public:
  static result<std::unique_ptr<cuda_transport>> open(const host::wire_context& context, const host::address_pattern& pattern,
                                                      cuda_model_stores& stores, const cuda_transport_options& options);
  ~cuda_transport() override;
  const std::string& address() const noexcept override { return server_->address(); }
  result<std::uint64_t> pull(const std::string& source, model_index model, page_key key, page_index page,
                             std::chrono::milliseconds deadline) override;
  pull_results pull_many(const std::string& source, std::span<const pull_item> items,
                         std::chrono::milliseconds deadline) override;
  result<std::vector<std::byte>> pull_dense(const std::string& source, model_index model,
                                            std::chrono::milliseconds deadline) override;
  void cancel() noexcept override { stop_.cancel(); }

  // Maps all models of `source`; true: none of them has to come as messages.
  result<bool> warm(const std::string& source, std::chrono::milliseconds deadline);
  const transfer_counts& counts() const noexcept { return counts_; }

 private:
  using outcomes = std::span<std::optional<result<std::uint64_t>>>;
  cuda_transport(const host::wire_context& context, cuda_model_stores& stores, const cuda_transport_options& options);
  // As pull_many of items of one model. An error has ended it: the answer for the items not set.
  status pull_of_model(const std::string& source, std::span<const pull_item> items, outcomes out,
                       std::chrono::milliseconds deadline);
  void pull_pieces(const std::string& source, std::span<const pull_item> items, outcomes out,
                   std::chrono::milliseconds deadline);
  result<std::uint64_t> pull_as_messages(const std::string& source, const pull_item& item,
                                         std::chrono::milliseconds deadline);
  result<bool> map_all(const std::string& source, std::chrono::milliseconds deadline);
  result<source_link*> link_to(const std::string& source);
  void forget_if_gone(const std::string& source, errc code);

  const host::wire_context& context_;
  cuda_model_stores& stores_;
  const cuda_transport_options options_;
  host::cancellation stop_;
  host::pace speed_;
  step_rhythm rhythm_;
  host::piece_puller puller_;
  transfer_counts counts_;
  std::unique_ptr<page_copier> copier_;
  std::map<std::string, std::unique_ptr<source_link>> links_;  // the transfer thread's
  map_answerer answerer_;
  std::unique_ptr<host::request_server> server_;  // uses the answerer: it goes first
};

}  // namespace ballast::gpu::cuda
