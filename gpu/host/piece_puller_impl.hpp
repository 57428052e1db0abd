// Brings a page or dense weights from another rank's page server as messages of bytes.
#pragma once

#include <functional>

#include "gpu/host/cancellation_impl.hpp"
#include "gpu/host/pace.hpp"
#include "gpu/host/transport_frames.hpp"

namespace ballast::gpu::host {

// Threads: the transfer thread, within a scope of `stop`. What is passed to the constructor outlives it.
class piece_puller {
 public:
  using sink = std::function<status(std::size_t offset, std::span<const std::byte>)>;

  piece_puller(const wire_context& context, cancellation& stop, pace& speed)
      : context_(context), stop_(stop), speed_(speed) {}
  // Brings `wanted` bytes piece by piece into `put`; their checksum, as the source keeps it. Errors: not_found,
  // corrupt, timed_out, unavailable, aborted, those of `put`.
  result<std::uint64_t> bring(const std::string& source, pull_request what, std::size_t wanted, const sink& put,
                              std::chrono::milliseconds deadline);
  result<std::uint64_t> bring_page(const std::string& source, model_index model, page_key key, std::size_t wanted,
                                   const sink& put, std::chrono::milliseconds deadline);
  // Whole, and checked.
  result<std::vector<std::byte>> bring_dense(const std::string& source, model_index model, std::size_t wanted,
                                             std::chrono::milliseconds deadline);

 private:
  struct session;
  result<std::uint64_t> bring_pieces(session& s, std::size_t wanted, const sink& put);
  status ask_more(session& s, std::size_t wanted);
  status next_reply(session& s, zmq::message_t& reply);
  bool ask(session& s, std::uint64_t offset, std::uint32_t length);

  const wire_context& context_;
  cancellation& stop_;
  pace& speed_;
  std::uint64_t next_id_ = 1;
};

}  // namespace ballast::gpu::host
