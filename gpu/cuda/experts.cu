// The grouped SwiGLU over slot pointers. A warp takes 32 rows of weights through its ring (weight_ring.cuh) into
// tensor-core operands: 16 bytes of a row (8 columns) serve as those of two m16n8k16 products. The columns of a product
// are a permutation, the same for weights and tokens, so that no shuffle is needed. Each output value is one chain of
// products over ascending columns, whatever the number of tokens: results do not depend on the batch.
#include <cuda_fp8.h>

#include "gpu/cuda/weight_ring.cuh"

namespace ballast::gpu::cuda {
namespace {

constexpr int warps = 5;  // of a block; with two blocks a processor the rings leave 68 KiB of cache for tokens
constexpr int threads = warps * 32;
constexpr int blocks_per_processor = 2;
constexpr std::uint32_t chunk_columns = 32;  // of two products

template <class Weight, bool Up>
using ring_of = weight_ring<Weight, Up, 2, 256>;

struct f8_row {  // 8 columns of f8 weights
  uint2 bits;
};

__device__ uint4 columns_of(const std::byte* at, std::uint16_t) { return *reinterpret_cast<const uint4*>(at); }
__device__ f8_row columns_of(const std::byte* at, std::uint8_t) { return {*reinterpret_cast<const uint2*>(at)}; }

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
// Rows of tokens stay in the first-level cache; weights pass it by.
__device__ uint4 load_token(const std::uint16_t* at) {
  uint4 v;
  asm("ld.global.nc.L1::evict_last.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
}

// Sums of two 16-row matrices times 8 * Tiles tokens.
template <int Tiles>
struct warp_sums {
  float of[2][Tiles][4];

  __device__ void clear() {
    for (auto& matrix : of)
      for (auto& tile : matrix)
        for (auto& v : tile) v = 0;
  }
  // Adds 8 columns of four rows, two of each matrix. x + token[i] is the row of this lane's token of tile i.
  template <class Columns>
  __device__ void add(const Columns (&w)[4], const std::uint16_t* x, const std::uint32_t (&token)[Tiles],
                      std::uint32_t column) {
    const uint4 a = as_bf16(w[0]), b = as_bf16(w[1]), c = as_bf16(w[2]), d = as_bf16(w[3]);
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      const uint4 v = load_token(x + token[i] + column);
      product(of[0][i], a.x, b.x, a.y, b.y, v.x, v.y);
      product(of[0][i], a.z, b.z, a.w, b.w, v.z, v.w);
      product(of[1][i], c.x, d.x, c.y, d.y, v.x, v.y);
      product(of[1][i], c.z, d.z, c.w, d.w, v.z, v.w);
    }
  }
  // Adds the sums of a block of columns times its scales, by matrix.
  __device__ void add_scaled(const warp_sums& block, const float (&scale)[2]) {
    for (int m = 0; m < 2; ++m)
      for (int i = 0; i < Tiles; ++i)
        for (int v = 0; v < 4; ++v) of[m][i][v] += scale[m] * block.of[m][i][v];
  }
};

// Scales of the blocks of columns of a unit's rows, by matrix. bf16 has none.
template <class Weight, bool Up>
struct unit_scales {
  static constexpr bool any = sizeof(Weight) == 1;
  const float* of[2];

  __device__ unit_scales(const expert_args& a, const expert_unit& u, std::uint32_t width) {
    if (!any) return;
    const auto* bundle = a.slots[u.slot].bundle;
    const auto block = a.shape.scale_block;
    const auto first = std::size_t{u.row0 / block} * ((width + block - 1) / block);
    of[0] = reinterpret_cast<const float*>(bundle + (Up ? a.bundle.gate_scale : a.bundle.down_scale)) + first;
    of[1] = Up ? reinterpret_cast<const float*>(bundle + a.bundle.up_scale) + first : of[0];
  }
};

// A unit's rows times its tokens, piece by piece of the ring.
template <class Weight, bool Up, int Tiles>
struct unit_product {
  using ring = ring_of<Weight, Up>;
  static constexpr bool scaled = unit_scales<Weight, Up>::any;
  const expert_args& a;
  const std::uint16_t* x;
  std::uint32_t token[Tiles];
  std::uint32_t width;
  warp_sums<Tiles> sums, block;  // block: of scaled columns
  std::uint32_t row_at[4];       // in a piece

  __device__ unit_product(const expert_args& args, const expert_unit& u) : a(args) {
    const auto group = threadIdx.x % 32 / 4;
    width = Up ? a.shape.hidden : a.intermediate;
    x = Up ? (a.rows != nullptr ? a.rows : a.step->at[a.step->rank].rows) : a.inner + std::size_t{u.first} * width;
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      const auto at = min(i * 8 + group, u.count - 1);
      token[i] = (Up ? a.jobs[u.first + at].row : at) * width;
    }
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) row_at[i] = ring::row_of(group, i);
  }

  // Columns [column, column + 32) of the unit, of which `piece` holds those from `from` on. Whole: all are there.
  template <bool Whole>
  __device__ void add_chunk(const std::byte* piece, std::uint32_t from, std::uint32_t column) {
    const auto mine = column + threadIdx.x % 4 * 8;
    const bool there = Whole || mine < width;  // past the end: zeros times whatever is there
    decltype(columns_of(piece, Weight{})) w[4] = {};
    if (there)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        w[i] = columns_of(piece + ring::place(row_at[i], (mine - from) * sizeof(Weight)), Weight{});
    (scaled ? block : sums).add(w, x, token, there ? mine : from);
  }

  // After the chunk that begins at `column`.
  __device__ void end_chunk(const unit_scales<Weight, Up>& scales, std::uint32_t column) {
    if (!scaled) return;
    const auto next = column + chunk_columns;
    if (next < width && next % a.shape.scale_block != 0) return;
    const auto at = column / a.shape.scale_block;
    sums.add_scaled(block, {scales.of[0][at], scales.of[1][at]});
    block.clear();
  }

  __device__ void run(ring& weights, const expert_unit& u) {
    constexpr std::uint32_t at_once = 4 * chunk_columns;  // whose loads go out together
    static_assert(ring::piece_columns % at_once == 0);
    const unit_scales<Weight, Up> scales(a, u, width);
    sums.clear();
    block.clear();
    for (std::uint32_t from = 0; from < width; from += ring::piece_columns) {
      const auto end = min(from + ring::piece_columns, width);
      const auto* piece = weights.await();
      auto column = from;
      for (; column + at_once <= end; column += at_once)
#pragma unroll
        for (std::uint32_t chunk = 0; chunk < at_once; chunk += chunk_columns) {
          add_chunk<true>(piece, from, column + chunk);
          end_chunk(scales, column + chunk);
        }
      for (; column < end; column += chunk_columns) {
        add_chunk<false>(piece, from, column);
        end_chunk(scales, column);
      }
      weights.release();
    }
  }

  __device__ void store(const expert_unit& u) const {
    const auto quad = threadIdx.x % 4, group = threadIdx.x % 32 / 4;
    constexpr std::uint32_t lane_rows = Up ? 2 : 4;
    const auto row = u.row0 + lane_rows * group;
    if (row + lane_rows > (Up ? a.intermediate : a.shape.hidden)) return;
#pragma unroll
    for (int i = 0; i < Tiles; ++i)
#pragma unroll
      for (int v = 0; v < 2; ++v) {
        const std::uint32_t at = i * 8 + 2 * quad + v;
        if (at >= u.count) continue;
        const float first0 = sums.of[0][i][v], first1 = sums.of[0][i][v + 2];
        const float second0 = sums.of[1][i][v], second1 = sums.of[1][i][v + 2];
        if constexpr (Up)
          store_inner(a, u.first + at, row, first0, second0, first1, second1);
        else
          store_answer(a, u.first + at, row, make_float4(first0, first1, second0, second1));
      }
  }
};

template <class Weight, bool Up, int Tiles>
__device__ void multiply_unit(const expert_args& a, ring_of<Weight, Up>& ring, const expert_unit& u) {
  unit_product<Weight, Up, Tiles> p(a, u);
  p.run(ring, u);
  p.store(u);
}

// A warp's work is (active slot, rows of its matrices), taken from a queue: a block that finds no room at first,
// because something else runs on the GPU, leaves its share to the others.
template <class Weight, bool Up>
__global__ void __launch_bounds__(threads, blocks_per_processor) multiply_experts(expert_args a) {
  extern __shared__ __align__(128) std::byte ring_room[];
  ring_of<Weight, Up> ring(a, ring_room + threadIdx.x / 32 * ring_of<Weight, Up>::bytes);
  for (expert_unit unit; ring.next(unit);) {
    if (unit.count <= 8)
      multiply_unit<Weight, Up, 1>(a, ring, unit);
    else if (unit.count <= 16)
      multiply_unit<Weight, Up, 2>(a, ring, unit);
    else
      multiply_unit<Weight, Up, 4>(a, ring, unit);
  }
  // Members that wait for a rank that failed are told by the host, and stop.
  if (!Up && a.signals && *a.work.failed == 0) signal_when_all_done(a.step, a.layer, signal_answers, a.work.done + 1);
}

template <class Weight, bool Up>
cudaError_t multiply(const expert_args& a, std::uint32_t processors, cudaStream_t on) {
  constexpr auto room = warps * ring_of<Weight, Up>::bytes;
  const auto allowed =  // of the current GPU alone
      cudaFuncSetAttribute(multiply_experts<Weight, Up>, cudaFuncAttributeMaxDynamicSharedMemorySize, room);
  if (allowed != cudaSuccess) return allowed;
  multiply_experts<Weight, Up><<<processors * blocks_per_processor, threads, room, on>>>(a);
  return cudaGetLastError();
}

// Wide slots first: they take longest.
template <class Weight>
cudaError_t both(const expert_args& a, std::uint32_t processors, cudaStream_t on) {
  if (a.wide != nullptr)
    if (const auto code = multiply_wide_up(a, processors, on); code != cudaSuccess) return code;
  if (const auto code = multiply<Weight, true>(a, processors, on); code != cudaSuccess) return code;
  if (a.wide != nullptr)
    if (const auto code = multiply_wide_down(a, processors, on); code != cudaSuccess) return code;
  return multiply<Weight, false>(a, processors, on);
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
