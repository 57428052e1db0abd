// The kernels of one MoE layer, in the order in which a step issues them. Each call issues on a stream and returns.
// Batch-invariant: every value is computed by the same operations in the same order, whatever else is in the batch,
// where the expert lives and how many ranks there are; so answers are compared bit for bit. Counts of tokens are read
// on the device (step_view), so that a captured graph serves every batch up to its capacity.
#pragma once

#include <cuda_runtime_api.h>

#include "gpu/cuda/views.hpp"

namespace ballast::gpu::cuda {

enum class weight_type : std::uint8_t { bf16, f8_e4m3 };

// One model's constants.
struct shape_view {
  std::uint32_t layers, experts, top_k, hidden, intermediate, shared_intermediate;
  std::uint32_t groups, top_groups;
  std::uint32_t entries;     // of a layer's slot table
  std::uint32_t max_tokens;  // of a rank; strides of the exchange
  bool sigmoid, renormalise, weighted_groups;
  float routed_scale, norm_eps;
  weight_type type;
  std::uint32_t scale_block;
};

// Where the tensors of a bundle begin, in bytes.
struct bundle_view {
  std::size_t gate, up, down, gate_scale, up_scale, down_scale;
};

// Dense weights of one layer, on the device. bias, shared: null if the model has none.
struct dense_view {
  const float* norm;
  const float* router;
  const float* bias;
  const slot_view* shared_slot;  // names a bf16 bundle: gate [S][H], up [S][H], down [H][S]
};

// One row of work: rows[row], whose answer is answers[answer] of `member`.
struct job {
  std::uint32_t row, member, answer;
};
struct active_slot {
  std::uint32_t slot, first, count;  // jobs[first .. first + count)
};
struct chosen_expert {
  float weight;
  std::uint32_t member;
};

// A rank's buffers for a step, by the most tokens it can take (T) and be sent (members * T); all on the device.
struct work_view {
  float* hidden;          // [T][hidden]
  float* normed;          // [T][hidden]
  std::uint16_t* own;     // [T][hidden] bf16 of normed
  float* logits;          // [T][experts]
  chosen_expert* chosen;  // [T][top_k]
  job* jobs;              // [members * T * top_k]
  active_slot* active;    // [entries]
  std::uint32_t* active_count;
  active_slot* wide;  // [members * T * top_k / wide_tokens + entries]: parts of slots that many tokens were sent to
  std::uint32_t* wide_count;
  std::uint16_t* inner;         // [members * T * top_k][intermediate] bf16
  float* shared_out;            // [T][hidden]
  std::uint16_t* shared_inner;  // [T][shared_intermediate]
  job* shared_jobs;             // [T]
  active_slot* shared_active;   // [1]
  std::uint32_t* shared_count;
  std::uint32_t* counts;  // [layers][entries]: tokens by slot, of this step
  std::uint32_t* done;    // [4]: blocks of a kernel that have finished; zero between kernels
  std::uint32_t* queue;   // [8]: work taken from the lists, by kernel
  fault_view* fault;      // host-mapped
  std::uint32_t* rhythm;  // host-mapped: step_rhythm's word
  std::uint32_t* failed;  // step_view::failed
};

struct layer_args {
  shape_view shape;
  bundle_view bundle;
  dense_view dense;
  work_view work;
  const slot_view* slots;  // of this layer
  const step_view* step;
  std::uint32_t layer;
  std::uint32_t capacity;  // tokens of this rank that the grids are sized for
  bool count_loads = true;
  std::uint32_t wide_above = no_slot;  // slots with more tokens go the wide way; no_slot: none does
};
inline constexpr std::uint32_t wide_tokens = 128;  // of one part
bool has_wide_way(const shape_view& shape);

// normed, own <- hidden. Only before the first layer: combine does it for the next one.
cudaError_t norm_rows(const layer_args& a, cudaStream_t on);
// logits <- normed * router
cudaError_t route(const layer_args& a, cudaStream_t on);
// chosen; rows and picks to every member; then the signal that they are there.
cudaError_t dispatch(const layer_args& a, cudaStream_t on);
// Waits for all members' rows; jobs, active, counts. Faults: a pick whose slot holds another expert.
cudaError_t gather(const layer_args& a, cudaStream_t on);
// inner <- silu(gate) * up; answers to their home ranks; then the signal that they are there.
cudaError_t run_experts(const layer_args& a, std::uint32_t processors, cudaStream_t on);
// shared_out of this rank's own tokens.
cudaError_t run_shared(const layer_args& a, std::uint32_t processors, cudaStream_t on);
// Waits for all members' answers; hidden += sum in k order + shared_out; the next layer's norm (next: null after the
// last).
cudaError_t combine(const layer_args& a, const dense_view* next, cudaStream_t on);

// The warm run of a communicator: a pattern to every member's flags and rows, checked. mismatches counts wrong values.
cudaError_t prove_exchange(const step_view* step, std::uint32_t values, std::uint32_t* mismatches, cudaStream_t on);

}  // namespace ballast::gpu::cuda
