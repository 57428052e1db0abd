// The communicator of the host backend: one PULL socket that all peers push to, one PUSH socket to each of them.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "gpu/communicator.hpp"
#include "gpu/host/bell.hpp"
#include "gpu/host/frames.hpp"
#include "gpu/host/sockets_impl.hpp"

namespace ballast::gpu::host {

// What any thread may touch of a communicator, also while it is being connected.
struct comm_signals {
  bell ring;
  std::atomic<bool> aborted{false};
  std::atomic<bool> woken{false};
};

struct comm_limits {
  std::vector<std::uint32_t> layers;  // by model
  std::chrono::milliseconds timeout{10'000};
  // A peer can be at most one step ahead: it cannot pass the headers of the next one. This bounds every queue.
  int queue() const noexcept;
};

class host_communicator final : public communicator {
 public:
  struct parts {
    epoch_t epoch = 0;
    std::uint32_t rank = 0;
    std::vector<seat_id> members;
    bound_socket inbound;
    std::vector<zmq::socket_t> outbound;  // by rank; own: none
    std::shared_ptr<comm_signals> signals;
    comm_limits limits;
  };
  explicit host_communicator(parts made);

  epoch_t epoch() const noexcept override { return made_.epoch; }
  std::uint32_t rank() const noexcept override { return made_.rank; }
  const std::vector<seat_id>& members() const noexcept override { return made_.members; }
  result<bool> wait_for_peer() override;
  bool peer_has_begun() override;
  step_t peer_step() const override;
  status exchange_headers(const step_header& mine, std::span<step_header> out) override;
  void wake() noexcept override;
  void abort() noexcept override;

  // Below: for the backend, on the issuing thread. `wanted[rank]` says from whom a frame is due.
  using mask = std::vector<bool>;
  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(made_.members.size()); }
  step_t step() const noexcept { return step_; }
  const step_header& header_of(std::uint32_t rank) const noexcept { return headers_[rank]; }
  zmq::message_t make_frame(frame_head head, std::size_t payload) const;
  status post(std::uint32_t to, zmq::message_t frame);
  // Waits for one frame of `kind` from each wanted rank and moves them to out[rank].
  status collect(frame_kind kind, model_index model, std::uint32_t layer, const mask& wanted,
                 std::vector<zmq::message_t>& out);
  // Takes in what has arrived, without waiting: the error of a member that gave up, of an abort, or of this side.
  status alive();
  // The same, parked until then: ends early with the error.
  status alive_until(clock::time_point until);
  // Tells every peer that this rank gives up, and gives up.
  status give_up(error why);
  // The warm run of connect(): every collective once, with data that is checked. Until `deadline`.
  status prove(clock::time_point deadline);
  // Gives `mine` to every member and returns theirs, in member order: small things that members must know of each other
  // before the first step. After prove(). Errors: those of a header exchange; invalid_argument (over most_shared
  // bytes).
  static constexpr std::size_t most_shared = 4096;
  result<std::vector<std::string>> share(const std::string& mine, clock::time_point deadline);
  std::uint64_t dropped() const noexcept { return dropped_; }  // frames that were not for this epoch, step or shape

 private:
  std::size_t cell(frame_kind kind, model_index model, std::uint32_t layer) const noexcept;
  bool belongs(const frame_head& head, std::size_t payload) const noexcept;
  void receive_all();
  void file(zmq::message_t message);
  status broken();
  status give_up_alone(error why);
  status collect_cell(std::size_t cell_index, const mask& wanted, std::vector<zmq::message_t>& out, const char* what,
                      clock::time_point deadline);
  status swap_headers(const step_header& mine, std::span<step_header> out, clock::time_point deadline);
  std::string names(const mask& wanted, std::size_t cell_index) const;
  mask peers() const;
  clock::time_point deadline() const { return own_deadline_ ? *own_deadline_ : clock::now() + made_.limits.timeout; }

  parts made_;
  std::vector<std::size_t> first_layer_;  // by model, in exchanges
  std::vector<zmq::message_t> cells_;     // [cell][rank]: what arrived and was not collected yet
  std::vector<bool> filled_;
  std::vector<step_header> headers_;  // of the current step
  // A peer that had all headers of an empty step may show its next one while we still wait for another peer's.
  std::vector<zmq::message_t> ahead_;
  step_t step_ = 0;
  std::uint64_t shared_ = 0;  // rounds of share() so far
  std::optional<error> failed_;
  std::optional<clock::time_point> own_deadline_;  // while connecting
  std::uint64_t dropped_ = 0;
};

}  // namespace ballast::gpu::host
