// What a member of a communicator to be tells the others about its exchange, and the way that all of them then take.
#pragma once

#include <span>
#include <string>

#include "gpu/cuda/peers_impl.hpp"
#include "gpu/device.hpp"

namespace ballast::gpu::cuda {

// Sizes that all members of a communicator must share: they write into each other's memory by them.
struct exchange_shape {
  std::uint32_t members = 8;       // most
  std::uint32_t max_tokens = 0;    // of a rank
  std::uint32_t row_bytes = 0;     // of the widest model
  std::uint32_t top_k = 0;         // of the model with most
  std::uint64_t answer_bytes = 0;  // of one rank's tokens, of the model with most
  bool operator==(const exchange_shape&) const = default;

  std::size_t picks_offset() const noexcept;
  std::size_t answers_offset() const noexcept;
  std::size_t flags_offset() const noexcept;
  std::size_t lane_bytes() const noexcept;
};
exchange_shape shape_exchange(const std::vector<moe_shape>& models, std::uint32_t max_tokens, std::uint32_t members);
// Errors: does_not_fit, with both sides' sizes.
status check_alike(const exchange_shape& mine, const exchange_shape& peers);

// Travels as text.
struct exchange_half {
  process_name process;
  std::int32_t ordinal = 0;
  std::uint32_t lane = 0;
  std::uint64_t base = 0;       // address within the process
  cudaIpcMemHandle_t handle{};  // the same memory for other processes of the host
  exchange_shape shape;
  gpu_name gpu;
  exchange_kind wish = exchange_kind::automatic;

  std::string encode() const;
  static result<exchange_half> decode(const std::string& text);  // errc::malformed
};

// peer or nccl: a function of what all members know, so that all come to the same. Errors: invalid_argument (members
// were told different things), unavailable (NCCL is needed, and two ranks stand on one GPU).
result<exchange_kind> choose_exchange(std::span<const exchange_half> halves, std::span<const seat_id> seats);

}  // namespace ballast::gpu::cuda
