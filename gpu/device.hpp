// A rank's device: memory, tables, kernels and links of one GPU (or of one host thread), and the backends that make them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gpu/communicator.hpp"
#include "gpu/model_shape.hpp"
#include "gpu/pages.hpp"
#include "gpu/transport.hpp"
#include "messages/result.hpp"
#include "messages/types.hpp"

namespace ballast::gpu {

// A placement made ready for the forward: built off the issuing thread, swapped in by pointer at a step boundary.
// Immutable. Replicas of one expert are drawn by share, deterministically from (step, layer, position in the batch).
class routing_table {
 public:
  virtual ~routing_table() = default;
  virtual version_t version() const noexcept = 0;
  virtual const placement& source() const noexcept = 0;
};

// Tokens this rank's experts received, per layer and slot. Owned by the caller, who reads and zeroes it between steps.
struct slot_counts {
  std::vector<std::vector<std::uint64_t>> tokens;  // [layer][slot]
  std::uint64_t expert_ns = 0;                     // spent in the experts; stays 0 where a backend does not measure it
};

struct device_limits {
  std::vector<model_capacity> models;
  std::uint32_t max_batch_tokens = 256;
  std::uint32_t max_members = 8;  // of a communicator; backends that allocate for peers at start refuse more
  std::chrono::milliseconds collective_timeout{10'000};  // a member that stays away longer has failed
  std::uint64_t pull_bytes_per_s = 0;                    // of this rank's own pulls; 0: as fast as they go
  std::uint64_t pull_piece_bytes = 12u << 20;  // at once, where pulls are paced: between pieces a step has the links
  bool pull_by_rhythm = true;  // paced pulls go when they disturb steps least; false: whenever they are due
  bool verify_pages = true;  // false: pages copied within a host are used unverified; messages are verified always
  bool count_loads = true;   // false: slot_counts stay as they are
};

// Threads: run_step, slots and set_dense on the issuing thread (one per device); make_routing, pages, transport and
// builder from any.
class device {
 public:
  virtual ~device() = default;
  virtual page_pool& pages(model_index model) = 0;
  virtual slot_table& slots(model_index model) = 0;
  virtual weight_transport& transport() = 0;
  virtual communicator_builder& builder() = 0;

  // Dense weights of all layers, each dense_layout().bytes long; kept, and served to joiners. Errors: invalid_argument.
  virtual status set_dense(model_index model, std::vector<std::byte> weights) = 0;
  virtual bool has_dense(model_index model) const = 0;

  // Errors: invalid_argument (an expert without a replica, a seat that is no member).
  virtual result<std::shared_ptr<const routing_table>> make_routing(const placement& table) const = 0;

  // Runs all layers of `model` over this rank's `hidden` rows ([tokens][hidden], in place), together with every member of
  // `comm`; members without tokens serve the others. Errors: those of the communicator; corrupt (a token named a slot that
  // holds another expert: nothing was computed with it).
  virtual status run_step(model_index model, step_t step, std::span<float> hidden, const routing_table& routing,
                          communicator& comm, slot_counts& counts) = 0;
};

// How ranks on devices pass each other rows and answers: through each other's memory, or by NCCL where that cannot be.
enum class exchange_kind : std::uint8_t { automatic, peer, nccl };

// What a socket of the data plane (a zmq::socket_t) goes through before it is bound or connected, so that nothing leaves the
// host in the clear. Empty: sockets stay plain. Any thread.
struct socket_guard {
  std::function<result<std::string>(void* socket, const std::string& address, bool bind)> prepare;  // the address to use
  std::function<std::string(const std::string& bound)> announced;  // an address as others are told of it
};

struct device_options {
  std::uint32_t local_rank = 0;
  std::uint32_t first_gpu = 0;   // rank r of a process stands on GPU (first_gpu + r) modulo their number
  exchange_kind exchange = exchange_kind::automatic;  // the same on all ranks
  std::uint32_t nccl_ctas =
      8;                      // most blocks that a communicator of NCCL may keep busy: memory and warm-up grow with it
  std::string bind;           // address pattern for what this rank opens: tcp://host:*, ipc://dir/prefix, inproc://prefix
  std::string advertise;      // host by which others reach its tcp addresses; empty: as bound
  std::vector<moe_shape> models;
  device_limits limits;
  void* link_context = nullptr;  // native() of the process's link_context
  socket_guard guard;
};

class backend {
 public:
  virtual ~backend() = default;
  virtual const char* name() const noexcept = 0;
  virtual result<std::unique_ptr<device>> make_device(const device_options& options) = 0;
};

// "host"; others are loaded from shared objects named libballast_<name>.so beside the program, or in the folder that the
// environment variable BALLAST_BACKENDS names. Errors: not_found.
result<std::unique_ptr<backend>> load_backend(const std::string& name);

}  // namespace ballast::gpu
