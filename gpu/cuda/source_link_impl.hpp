// A puller's link to one source: what it asks, and where the source's pages can be reached from here.
#pragma once

#include <map>
#include <memory>

#include "gpu/cuda/map_answerer_impl.hpp"
#include "gpu/cuda/map_frames.hpp"
#include "gpu/host/cancellation_impl.hpp"
#include "messages/types.hpp"

namespace ballast::gpu::cuda {

// Threads: the transfer thread, standing on the puller's GPU; what asks does so within a scope of `stop`. Mappings are
// closed with the link. Errors of what asks: aborted, timed_out, unavailable (also: the source was restarted), corrupt,
// and what the source refuses with.
class source_link {
 public:
  using time_point = host::clock::time_point;
  struct view {
    const std::byte* base = nullptr;  // null: not to be reached from here, only as messages
    std::size_t stride = 0;
    std::uint32_t pages = 0;
  };
  struct located {
    std::uint64_t lease = 0;  // 0: none, as nothing was found
    time_point until;         // of the lease
    std::vector<located_frame> pages;
  };

  static result<std::unique_ptr<source_link>> open(const host::wire_context& context, const std::string& address, int ordinal,
                                                   bool allow_mappings, host::cancellation& stop);
  ~source_link();
  const std::string& address() const noexcept { return address_; }

  // Asked and mapped once: a mapping of another GPU costs 20 to 34 ms, later calls nothing.
  result<view> map(model_index model, std::size_t page_bytes, time_point until);
  result<located> locate(model_index model, std::span<const page_key> keys, time_point until);
  void release(std::uint64_t lease);
  // False: it was asked whether it is there, and has said nothing for `patience`. Never waits.
  bool alive(time_point now);
  static constexpr std::chrono::seconds patience{2};

 private:
  struct mapping {
    view seen;
    void* opened = nullptr;  // of another process, to be closed
  };
  source_link(std::string address, int ordinal, bool allow_mappings, host::cancellation& stop)
      : address_(std::move(address)), ordinal_(ordinal), allow_mappings_(allow_mappings), stop_(stop) {}
  result<zmq::message_t> ask(const map_request& request, std::span<const key_frame> keys, time_point until);
  result<map_reply> next_reply(std::uint64_t id, zmq::message_t& reply, time_point until);
  bool send(const map_request& request, std::span<const key_frame> keys);
  mapping reach(const mapping_frame& frame) const;
  status open_peer(int other) const;

  const std::string address_;
  const int ordinal_;
  const bool allow_mappings_;
  host::cancellation& stop_;
  zmq::socket_t socket_;
  std::map<model_index, mapping> mappings_;
  std::uint64_t next_id_ = 1;
  std::uint64_t source_ = 0;  // whom the mappings are of
  std::optional<time_point> asked_alive_;
};

}  // namespace ballast::gpu::cuda
