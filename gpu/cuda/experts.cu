// The grouped SwiGLU over slot pointers. Weights stream from device memory straight into tensor-core fragments: a lane
// loads 16 bytes (8 columns) of a row, which serve as the operands of two m16n8k16 products; the columns of a product
// are a permutation, the same for weights and tokens, so that no shuffle and no shared memory is needed. Each output
// value is one chain of products over ascending columns, whatever the number of tokens: results do not depend on the
// batch.
#include <cuda_fp8.h>

#include "gpu/cuda/expert_tiles.cuh"

namespace ballast::gpu::cuda {
namespace {

constexpr int warps = 4;  // of a block
constexpr int threads = warps * 32;
constexpr int blocks_per_processor = 3;
constexpr int most_tiles = 4;  // of 8 tokens, that a warp computes at once

struct f8_row {  // 8 columns of f8 weights
  uint2 bits;
};

__device__ uint4 load_weights(const std::uint16_t* at) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(at));
  return v;
}
__device__ f8_row load_weights(const std::uint8_t* at) {
  f8_row v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0,%1}, [%2];"
               : "=r"(v.bits.x), "=r"(v.bits.y)
               : "l"(at));
  return v;
}

__device__ uint4 as_bf16(uint4 v) { return v; }
// Exact: an e4m3 value has 3 bits of fraction.
__device__ std::uint32_t two_as_bf16(std::uint32_t pair) {
  const __half2_raw raw = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(pair), __NV_E4M3);
  const float2 f = __half22float2(__half2(raw));
  return pack_bf16(f.x, f.y);
}
__device__ uint4 as_bf16(f8_row v) {
  return {two_as_bf16(v.bits.x & 0xffff), two_as_bf16(v.bits.x >> 16), two_as_bf16(v.bits.y & 0xffff),
          two_as_bf16(v.bits.y >> 16)};
}

// A warp's two 16-row matrices times 8 * Tiles tokens. row[i]: this lane's rows, two of each matrix.
template <class Weight, int Tiles>
struct warp_product {
  float sum[2][Tiles][4];

  __device__ void clear() {
    for (auto& matrix : sum)
      for (auto& tile : matrix)
        for (auto& v : tile) v = 0;
  }

  // Adds columns [from, to); both multiples of 8. x + token[i] is the row of this lane's token of tile i.
  __device__ void add(const Weight* const (&row)[4], const std::uint16_t* x, const std::uint32_t (&token)[Tiles],
                      std::uint32_t from, std::uint32_t to) {
    constexpr int ahead = Tiles <= 2 ? 4 : 2;  // chunks of 32 columns that are loaded before they are used
    using loaded = decltype(load_weights(row[0]));
    const std::uint32_t lane_column = threadIdx.x % 4 * 8;
    std::uint32_t column = from;
    for (; column + 32 * ahead <= to; column += 32 * ahead) {
      loaded w[ahead][4];
#pragma unroll
      for (int c = 0; c < ahead; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) w[c][i] = load_weights(row[i] + column + 32 * c + lane_column);
#pragma unroll
      for (int c = 0; c < ahead; ++c) multiply(w[c], x, token, column + 32 * c + lane_column);
    }
    for (; column < to; column += 32) {
      const auto mine = column + lane_column;
      loaded w[4] = {};
      if (mine < to)
#pragma unroll
        for (int i = 0; i < 4; ++i) w[i] = load_weights(row[i] + mine);
      multiply(w, x, token, mine < to ? mine : from);  // columns past the end: zeros times whatever is there
    }
  }

  template <class Loaded>
  __device__ void multiply(const Loaded (&w)[4], const std::uint16_t* x, const std::uint32_t (&token)[Tiles],
                           std::uint32_t column) {
    const uint4 a = as_bf16(w[0]), b = as_bf16(w[1]), c = as_bf16(w[2]), d = as_bf16(w[3]);
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      const uint4 v = __ldg(reinterpret_cast<const uint4*>(x + token[i] + column));
      product(sum[0][i], a.x, b.x, a.y, b.y, v.x, v.y);
      product(sum[0][i], a.z, b.z, a.w, b.w, v.z, v.w);
      product(sum[1][i], c.x, d.x, c.y, d.y, v.x, v.y);
      product(sum[1][i], c.z, d.z, c.w, d.w, v.z, v.w);
    }
  }
};

struct scales {
  const float* of[2];  // by matrix, of the row's block: [ceil(columns / block)]
  std::uint32_t block;
};

template <int Tiles>
__device__ void multiply_all(warp_product<std::uint16_t, Tiles>& p, const std::uint16_t* const (&row)[4],
                             const std::uint16_t* x, const std::uint32_t (&token)[Tiles], std::uint32_t columns,
                             const scales&) {
  p.clear();
  p.add(row, x, token, 0, columns);
}

// Scales are applied to the sum of each block of columns.
template <int Tiles>
__device__ void multiply_all(warp_product<std::uint8_t, Tiles>& p, const std::uint8_t* const (&row)[4],
                             const std::uint16_t* x, const std::uint32_t (&token)[Tiles], std::uint32_t columns,
                             const scales& s) {
  warp_product<std::uint8_t, Tiles> part;
  p.clear();
  for (std::uint32_t from = 0; from < columns; from += s.block) {
    part.clear();
    part.add(row, x, token, from, min(from + s.block, columns));
    for (int m = 0; m < 2; ++m) {
      const float scale = s.of[m][from / s.block];
      for (int i = 0; i < Tiles; ++i)
        for (int v = 0; v < 4; ++v) p.sum[m][i][v] += scale * part.sum[m][i][v];
    }
  }
}

// 8 * Tiles tokens, from job `first` on; `count` of them are there.
template <class Weight, int Tiles>
__device__ void up_tile(const expert_args& a, const std::byte* bundle, std::uint32_t row0, std::uint32_t first,
                        std::uint32_t count) {
  const std::uint32_t lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
  const std::uint32_t width = a.shape.hidden, rows = a.intermediate;
  const auto* x = a.rows != nullptr ? a.rows : a.step->at[a.step->rank].rows;
  std::uint32_t token[Tiles];
#pragma unroll
  for (int i = 0; i < Tiles; ++i) token[i] = a.jobs[first + min(i * 8 + group, count - 1)].row * width;
  const std::uint32_t mine = row0 + 2 * group;  // and the one after it
  const auto last = rows - 1;
  const auto* gate = reinterpret_cast<const Weight*>(bundle + a.bundle.gate);
  const auto* up = reinterpret_cast<const Weight*>(bundle + a.bundle.up);
  const std::size_t r0 = std::size_t{min(mine, last)} * width, r1 = std::size_t{min(mine + 1, last)} * width;
  const Weight* const row[4] = {gate + r0, gate + r1, up + r0, up + r1};
  const std::size_t block_row =
      std::size_t{row0 / a.shape.scale_block} * ((width + a.shape.scale_block - 1) / a.shape.scale_block);
  const scales s{{reinterpret_cast<const float*>(bundle + a.bundle.gate_scale) + block_row,
                  reinterpret_cast<const float*>(bundle + a.bundle.up_scale) + block_row},
                 a.shape.scale_block};
  warp_product<Weight, Tiles> p;
  multiply_all(p, row, x, token, width, s);
#pragma unroll
  for (int i = 0; i < Tiles; ++i)
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      const std::uint32_t at = i * 8 + 2 * quad + v;
      if (at < count && mine + 1 < rows)
        store_inner(a, first + at, mine, p.sum[0][i][v], p.sum[1][i][v], p.sum[0][i][v + 2], p.sum[1][i][v + 2]);
    }
}

template <class Weight, int Tiles>
__device__ void down_tile(const expert_args& a, const std::byte* bundle, std::uint32_t row0, std::uint32_t first,
                          std::uint32_t count) {
  const std::uint32_t lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
  const std::uint32_t width = a.intermediate, rows = a.shape.hidden;
  std::uint32_t token[Tiles];
#pragma unroll
  for (int i = 0; i < Tiles; ++i) token[i] = min(i * 8 + group, count - 1) * width;
  const std::uint32_t mine = row0 + 4 * group;  // and the three after it
  const auto* down = reinterpret_cast<const Weight*>(bundle + a.bundle.down);
  const Weight* row[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) row[i] = down + std::size_t{min(mine + i, rows - 1)} * width;
  const Weight* const fixed[4] = {row[0], row[1], row[2], row[3]};
  const auto* scale =
      reinterpret_cast<const float*>(bundle + a.bundle.down_scale) +
      std::size_t{row0 / a.shape.scale_block} * ((width + a.shape.scale_block - 1) / a.shape.scale_block);
  const scales s{{scale, scale}, a.shape.scale_block};
  warp_product<Weight, Tiles> p;
  multiply_all(p, fixed, a.inner + std::size_t{first} * width, token, width, s);
#pragma unroll
  for (int i = 0; i < Tiles; ++i)
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      const std::uint32_t at = i * 8 + 2 * quad + v;
      if (at < count && mine + 3 < rows)
        store_answer(a, first + at, mine,
                     make_float4(p.sum[0][i][v], p.sum[0][i][v + 2], p.sum[1][i][v], p.sum[1][i][v + 2]));
    }
}

template <class Weight, bool Up, int Tiles>
__device__ void tile(const expert_args& a, const std::byte* bundle, std::uint32_t row0, std::uint32_t first,
                     std::uint32_t count) {
  if constexpr (Up)
    up_tile<Weight, Tiles>(a, bundle, row0, first, count);
  else
    down_tile<Weight, Tiles>(a, bundle, row0, first, count);
}

// The next piece of work of a warp; the same for its lanes. Asked for a piece ahead, so that nobody waits for the
// answer.
__device__ std::uint32_t next_item(std::uint32_t* queue) {
  std::uint32_t item = 0;
  if (threadIdx.x % 32 == 0) item = atomicAdd(queue, 1);
  return item;
}

// A warp's work is (active slot, rows of its matrices), taken from a queue: a block that finds no room at first,
// because something else runs on the GPU, leaves its share to the others.
template <class Weight, bool Up>
__global__ void __launch_bounds__(threads, blocks_per_processor) multiply_experts(expert_args a) {
  constexpr std::uint32_t warp_rows = Up ? 16 : 32;
  const auto rows = Up ? a.intermediate : a.shape.hidden;
  const auto groups = (rows + warp_rows - 1) / warp_rows;
  const auto items = *a.active_count * groups;
  auto ahead = next_item(a.queue + (Up ? 0 : 1));
  for (auto item = __shfl_sync(~0u, ahead, 0); item < items; item = __shfl_sync(~0u, ahead, 0)) {
    ahead = next_item(a.queue + (Up ? 0 : 1));
    const auto active = a.active[item / groups];
    const auto row0 = item % groups * warp_rows;
    const auto* bundle = a.slots[active.slot].bundle;
    for (std::uint32_t done = 0; done < active.count; done += 8 * most_tiles) {
      const auto left = min(active.count - done, std::uint32_t{8 * most_tiles}), first = active.first + done;
      if (left <= 8)
        tile<Weight, Up, 1>(a, bundle, row0, first, left);
      else if (left <= 16)
        tile<Weight, Up, 2>(a, bundle, row0, first, left);
      else
        tile<Weight, Up, 4>(a, bundle, row0, first, left);
    }
  }
  // Members that wait for a rank that failed are told by the host, and stop.
  if (!Up && a.signals && *a.work.failed == 0) signal_when_all_done(a.step, a.layer, signal_answers, a.work.done + 1);
}

// Wide slots first: they take longest.
template <class Weight>
cudaError_t both(const expert_args& a, std::uint32_t processors, cudaStream_t on) {
  const auto blocks = processors * blocks_per_processor;
  if (a.wide != nullptr)
    if (const auto code = multiply_wide_up(a, processors, on); code != cudaSuccess) return code;
  multiply_experts<Weight, true><<<blocks, threads, 0, on>>>(a);
  if (a.wide != nullptr)
    if (const auto code = multiply_wide_down(a, processors, on); code != cudaSuccess) return code;
  multiply_experts<Weight, false><<<blocks, threads, 0, on>>>(a);
  return cudaGetLastError();
}

// The shared expert as one slot that all own tokens are sent to.
__global__ void shared_jobs(work_view work, const step_view* step, job* jobs, active_slot* active,
                            std::uint32_t* active_count) {
  const auto tokens = step->tokens[step->rank];
  for (auto t = threadIdx.x; t < tokens; t += blockDim.x) jobs[t] = {t, 0, t};
  if (threadIdx.x == 0) {
    active[0] = {0, 0, tokens};
    work.queue[2] = work.queue[3] = 0;
    *active_count = tokens > 0 ? 1 : 0;
  }
}

}  // namespace

cudaError_t run_experts(const layer_args& a, std::uint32_t processors, cudaStream_t on) {
  const auto& w = a.work;
  const bool wide = a.wide_above != no_slot;
  const expert_args args{a.shape,
                         a.bundle,
                         w,
                         a.slots,
                         nullptr,
                         a.step,
                         w.active,
                         w.active_count,
                         wide ? w.wide : nullptr,
                         w.wide_count,
                         w.jobs,
                         w.inner,
                         a.shape.intermediate,
                         nullptr,
                         w.queue,
                         a.layer,
                         true};
  return a.shape.type == weight_type::f8_e4m3 ? both<std::uint8_t>(args, processors, on)
                                              : both<std::uint16_t>(args, processors, on);
}

cudaError_t run_shared(const layer_args& a, std::uint32_t processors, cudaStream_t on) {
  const auto& w = a.work;
  const auto inner = a.shape.shared_intermediate;
  const std::size_t bytes = std::size_t{inner} * a.shape.hidden * 2;
  shared_jobs<<<1, 256, 0, on>>>(w, a.step, w.shared_jobs, w.shared_active, w.shared_count);
  const expert_args args{a.shape,
                         {0, bytes, 2 * bytes, 0, 0, 0},
                         w,
                         a.dense.shared_slot,
                         w.own,
                         a.step,
                         w.shared_active,
                         w.shared_count,
                         nullptr,
                         nullptr,
                         w.shared_jobs,
                         w.shared_inner,
                         inner,
                         w.shared_out,
                         w.queue + 2,
                         a.layer,
                         false};
  return both<std::uint16_t>(args, processors, on);
}

bool has_wide_way(const shape_view& shape) { return can_be_wide(shape); }

}  // namespace ballast::gpu::cuda
