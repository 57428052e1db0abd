// What the two ways to multiply experts share: their arguments, one product, and where results go.
#pragma once

#include "gpu/cuda/device_math.cuh"

namespace ballast::gpu::cuda {

struct expert_args {
  shape_view shape;
  bundle_view bundle;
  work_view work;
  const slot_view* slots;
  const std::uint16_t* rows;  // of tokens; null: those of the exchange
  const step_view* step;
  const active_slot* active;
  const std::uint32_t* active_count;
  const active_slot* wide;
  const std::uint32_t* wide_count;
  const job* jobs;
  std::uint16_t* inner;
  std::uint32_t intermediate;
  float* answers;        // null: those of the exchange
  std::uint32_t* queue;  // work taken so far, of each kernel
  std::uint32_t layer;
  bool signals;  // the experts of a layer, not the shared one
};

// Only for slots of at most wide_tokens tokens, of shapes for which can_be_wide().
bool can_be_wide(const shape_view& s);
cudaError_t multiply_wide_up(const expert_args& a, std::uint32_t processors, cudaStream_t on);
cudaError_t multiply_wide_down(const expert_args& a, std::uint32_t processors, cudaStream_t on);

__device__ inline void product(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                               std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// 16 bytes on their way to shared memory; copies are awaited by groups.
__device__ inline void copy_unit(void* to, const void* from) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}
__device__ inline void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all of this thread's groups but the newest.
template <int Newest>
__device__ void await_groups_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Newest) : "memory");
}

__device__ inline float swiglu(float gate, float up) { return gate / (1.0f + expf(-gate)) * up; }

// Rows `row` and the one after it.
__device__ inline void store_inner(const expert_args& a, std::uint32_t job, std::uint32_t row, float gate0, float up0,
                                   float gate1, float up1) {
  auto* out = a.inner + std::size_t{job} * a.intermediate + row;
  *reinterpret_cast<std::uint32_t*>(out) = pack_bf16(swiglu(gate0, up0), swiglu(gate1, up1));
}

// Rows `row` and the three after it.
__device__ inline void store_answer(const expert_args& a, std::uint32_t job, std::uint32_t row, float4 values) {
  const auto& to = a.jobs[job];
  auto* answers = a.answers != nullptr ? a.answers : a.step->at[to.member].answers;
  *reinterpret_cast<float4*>(answers + std::size_t{to.answer} * a.shape.hidden + row) = values;
}

}  // namespace ballast::gpu::cuda
