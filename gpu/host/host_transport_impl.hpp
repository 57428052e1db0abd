// Pulls pages and dense weights from other ranks' page servers.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "gpu/host/page_server_impl.hpp"
#include "gpu/transport.hpp"

namespace ballast::gpu::host {

class host_transport final : public weight_transport {
 public:
  static result<std::unique_ptr<host_transport>> open(zmq::context_t& context, const address_pattern& pattern,
                                                      model_states& models, std::uint64_t bytes_per_s);
  const std::string& address() const noexcept override { return server_->address(); }
  result<std::uint64_t> pull(const std::string& source, model_index model, page_key key, page_index page,
                             std::chrono::milliseconds deadline) override;
  result<std::vector<std::byte>> pull_dense(const std::string& source, model_index model,
                                            std::chrono::milliseconds deadline) override;
  void cancel() noexcept override;
  const page_server& server() const noexcept { return *server_; }

 private:
  struct session;
  using sink = std::function<status(std::size_t offset, std::span<const std::byte>)>;

  host_transport(zmq::context_t& context, model_states& models, std::uint64_t bytes_per_s)
      : context_(context), models_(models), bytes_per_s_(bytes_per_s) {}
  // Brings `wanted` bytes piece by piece into `put`; their checksum, as the source keeps it.
  result<std::uint64_t> bring(const std::string& source, pull_request what, std::size_t wanted, const sink& put,
                              std::chrono::milliseconds deadline);
  result<std::uint64_t> bring_pieces(session& s, std::size_t wanted, const sink& put);
  status next_reply(session& s, zmq::message_t& reply);
  bool ask(session& s, std::uint64_t offset, std::uint32_t length);

  zmq::context_t& context_;
  model_states& models_;
  const std::uint64_t bytes_per_s_;
  std::unique_ptr<page_server> server_;
  bell cancel_bell_;
  std::mutex mutex_;
  bool under_way_ = false, cancelled_ = false;  // guarded by mutex_
  std::uint64_t next_id_ = 1;
};

}  // namespace ballast::gpu::host
