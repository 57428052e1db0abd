// What kernels and host code of this folder agree on: plain structs that lie in device memory. C++17, no CUDA headers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ballast::gpu::cuda {

inline constexpr std::uint32_t max_members = 64;    // of one communicator
inline constexpr std::uint32_t max_top_k = 16;      // experts a token goes to
inline constexpr std::uint32_t max_experts = 1024;  // a layer
inline constexpr std::uint32_t max_entries = 2048;  // of a layer's slot table
inline constexpr std::uint32_t no_slot = ~0u;

// An entry of the slot table: the bundle that the grouped GEMM reads. expert == no_slot: unused.
struct slot_view {
  const std::byte* bundle;
  std::uint32_t expert;
  std::uint32_t reserved;
};

// One expert's copies in a routing image are copies[first[layer * experts + expert] .. first[... + 1]).
struct copy_view {
  std::uint64_t below;  // drawn when the point is under this; the last copy takes the rest
  std::uint32_t seat;   // position among the image's seats
  std::uint32_t slot;
};
struct routing_view {
  const std::uint32_t* first;
  const copy_view* copies;
};

// One of a token's k experts, as its home rank tells it to every member, alike.
struct pick {
  std::uint32_t slot;
  std::uint32_t expert;
  std::uint32_t member;  // that computes it
};

// Where a member's half of the exchange lies, as this process can reach it. Rows of source rank r begin at
// rows + r * max_tokens * hidden; its picks at picks + r * max_tokens * top_k; answers[token][k][hidden] are this
// member's own tokens'. Where rows travel in blocks (step_view::blocks), rows and picks are there for this rank's own
// half only, there are no flags, and a peer's answers are the block that goes to it.
struct member_view {
  std::uint16_t* rows;  // bf16
  pick* picks;
  float* answers;
  std::uint64_t* flags;  // [signal_kind][source rank]
};
// Floats before the answers of a block; the first is a word that is not zero if the answers must not be used.
inline constexpr std::uint32_t verdict_floats = 64;
enum signal_kind : std::uint32_t { signal_rows = 0, signal_answers = 1, signal_kinds = 2 };

// Everything that changes from step to step; copied to the device before each.
struct step_view {
  std::uint64_t step;
  std::uint64_t sequence;  // signals of this communicator before this step, of each kind
  std::uint32_t rank, members;
  std::uint32_t tokens[max_members];   // by rank
  std::uint32_t rank_of[max_members];  // by position among the routing image's seats
  routing_view routing;
  member_view at[max_members];         // by rank
  const float* answers[max_members];   // of this rank's own tokens, by the member that computed them
  std::uint32_t blocks;                // not zero: rows and answers are moved between kernels, not by them
  const volatile std::uint32_t* stop;  // host-mapped: non-zero ends every wait; only waits read it, it is far away
  std::uint32_t failed;                // set by a kernel that met a fault: no more answers are given in this step
};

// Why a step is no good; in host-mapped memory, written by kernels.
struct fault_view {
  std::uint32_t kind;  // fault_kind, the first one met
  std::uint32_t layer, source, slot, named, held;
  std::uint32_t complete;  // not zero: all of the above is written
};
enum fault_kind : std::uint32_t {
  fault_none = 0,
  fault_stopped = 1,
  fault_wrong_expert = 2,
  fault_no_slot = 3,
  fault_member = 4 /* a member met a fault: it says itself which */
};

}  // namespace ballast::gpu::cuda
