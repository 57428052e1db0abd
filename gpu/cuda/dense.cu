// What a token's home rank does before and after the experts: norm, router, and the weighted sum.
#include "gpu/cuda/device_math.cuh"

namespace ballast::gpu::cuda {
namespace {

constexpr int row_threads = 256;

// One token a block: the norm of `row` (in shared memory), as f32 and as bf16.
__device__ void write_normed(const float* row, std::uint32_t width, float eps, const float* weight, float* normed,
                             std::uint16_t* own) {
  float squares = 0;
  for (auto c = threadIdx.x; c < width; c += row_threads) squares += row[c] * row[c];
  const float scale = rsqrtf(block_sum<row_threads>(squares) / static_cast<float>(width) + eps);
  for (auto c = 2 * threadIdx.x; c < width; c += 2 * row_threads) {
    const float low = row[c] * scale * weight[c], high = row[c + 1] * scale * weight[c + 1];
    *reinterpret_cast<float2*>(normed + c) = make_float2(low, high);
    *reinterpret_cast<std::uint32_t*>(own + c) = pack_bf16(low, high);
  }
}

__global__ void __launch_bounds__(row_threads) norm_kernel(layer_args a) {
  extern __shared__ float row[];
  const std::size_t t = blockIdx.x;
  if (t >= a.step->tokens[a.step->rank]) return;
  const auto width = a.shape.hidden;
  for (auto c = threadIdx.x; c < width; c += row_threads) row[c] = a.work.hidden[t * width + c];
  __syncthreads();
  write_normed(row, width, a.shape.norm_eps, a.dense.norm, a.work.normed + t * width, a.work.own + t * width);
}

// A block computes tile_tokens x tile_experts logits; a warp, 4 experts of all its tokens. A lane adds up every 32nd
// vector of four, and the lanes are added as a tree: the same order whatever the batch.
constexpr int tile_tokens = 8, tile_experts = 16, route_threads = 128, warp_experts = 4;

__global__ void __launch_bounds__(route_threads) route_kernel(layer_args a) {
  const auto tokens = a.step->tokens[a.step->rank];
  const std::uint32_t token0 = blockIdx.x * tile_tokens;
  if (token0 >= tokens) return;
  const std::uint32_t lane = threadIdx.x % 32, expert0 = blockIdx.y * tile_experts + threadIdx.x / 32 * warp_experts;
  if (expert0 >= a.shape.experts) return;
  const std::uint32_t width = a.shape.hidden;
  float sum[warp_experts][tile_tokens] = {};
  for (auto c = 4 * lane; c < width; c += 128) {
    float4 w[warp_experts];
#pragma unroll
    for (int e = 0; e < warp_experts; ++e)
      w[e] = __ldg(reinterpret_cast<const float4*>(a.dense.router +
                                                   std::size_t{min(expert0 + e, a.shape.experts - 1)} * width + c));
#pragma unroll
    for (int t = 0; t < tile_tokens; ++t) {
      const auto x =
          *reinterpret_cast<const float4*>(a.work.normed + std::size_t{min(token0 + t, tokens - 1)} * width + c);
#pragma unroll
      for (int e = 0; e < warp_experts; ++e)
        sum[e][t] = fmaf(w[e].w, x.w, fmaf(w[e].z, x.z, fmaf(w[e].y, x.y, fmaf(w[e].x, x.x, sum[e][t]))));
    }
  }
#pragma unroll
  for (int e = 0; e < warp_experts; ++e)
#pragma unroll
    for (int t = 0; t < tile_tokens; ++t) {
      float v = sum[e][t];
      for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
      if (lane == 0 && token0 + t < tokens && expert0 + e < a.shape.experts)
        a.work.logits[std::size_t{token0 + t} * a.shape.experts + expert0 + e] = v;
    }
}

struct next_norm {
  const float* weight;  // null: this was the last layer
};

__global__ void __launch_bounds__(row_threads) combine_kernel(layer_args a, next_norm next) {
  extern __shared__ float row[];
  __shared__ chosen_expert chosen[max_top_k];
  __shared__ const float* answers[max_top_k];  // of this token
  const std::size_t t = blockIdx.x;
  if (t >= a.step->tokens[a.step->rank] || *a.work.failed != 0) return;
  const auto width = a.shape.hidden, top_k = a.shape.top_k;
  if (threadIdx.x < top_k) {
    chosen[threadIdx.x] = a.work.chosen[t * top_k + threadIdx.x];
    answers[threadIdx.x] = a.step->answers[chosen[threadIdx.x].member] + (t * top_k + threadIdx.x) * width;
  }
  __syncthreads();
  for (auto c = 4 * threadIdx.x; c < width; c += 4 * row_threads) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (std::uint32_t k = 0; k < top_k; ++k) {
      const auto v = *reinterpret_cast<const float4*>(answers[k] + c);
      const float w = chosen[k].weight;
      sum = make_float4(fmaf(w, v.x, sum.x), fmaf(w, v.y, sum.y), fmaf(w, v.z, sum.z), fmaf(w, v.w, sum.w));
    }
    auto* home = reinterpret_cast<float4*>(a.work.hidden + t * width + c);
    float4 h = *home;
    h = make_float4(h.x + sum.x, h.y + sum.y, h.z + sum.z, h.w + sum.w);
    if (a.shape.shared_intermediate != 0) {
      const auto s = *reinterpret_cast<const float4*>(a.work.shared_out + t * width + c);
      h = make_float4(h.x + s.x, h.y + s.y, h.z + s.z, h.w + s.w);
    }
    *home = h;
    *reinterpret_cast<float4*>(row + c) = h;
  }
  if (next.weight == nullptr) return;
  __syncthreads();
  write_normed(row, width, a.shape.norm_eps, next.weight, a.work.normed + t * width, a.work.own + t * width);
}

// One block waits, so that no other block holds a processor while it does: several ranks may share a GPU.
__global__ void await_answers(const step_view* step, std::uint32_t layer, fault_view* fault, std::uint32_t* failed) {
  if (!await_members(step, layer, signal_answers)) {
    if (threadIdx.x == 0) report(fault, fault_stopped, layer);
    *failed = 1;
    return;
  }
  if (step->blocks == 0 || threadIdx.x >= step->members || threadIdx.x == step->rank) return;
  if (*(reinterpret_cast<const std::uint32_t*>(step->answers[threadIdx.x] - verdict_floats)) == 0) return;
  *failed = 1;
  report(fault, fault_member, layer, threadIdx.x);
}

}  // namespace

cudaError_t norm_rows(const layer_args& a, cudaStream_t on) {
  norm_kernel<<<a.capacity, row_threads, a.shape.hidden * sizeof(float), on>>>(a);
  return cudaGetLastError();
}

cudaError_t route(const layer_args& a, cudaStream_t on) {
  const dim3 grid((a.capacity + tile_tokens - 1) / tile_tokens, (a.shape.experts + tile_experts - 1) / tile_experts);
  route_kernel<<<grid, route_threads, 0, on>>>(a);
  return cudaGetLastError();
}

cudaError_t combine(const layer_args& a, const dense_view* next, cudaStream_t on) {
  await_answers<<<1, max_members, 0, on>>>(a.step, a.layer, a.work.fault, a.work.failed);
  combine_kernel<<<a.capacity, row_threads, a.shape.hidden * sizeof(float), on>>>(
      a, next_norm{next != nullptr ? next->norm : nullptr});
  return cudaGetLastError();
}

}  // namespace ballast::gpu::cuda
