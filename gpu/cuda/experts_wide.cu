// The grouped SwiGLU for slots that many tokens were sent to: a block multiplies 128 rows of weights by 128 tokens out
// of shared memory. Products are chained in the order of experts.cu, column by column, so both give the same bits and a
// token's answer does not depend on how many others its expert got.
#include "gpu/cuda/expert_tiles.cuh"

namespace ballast::gpu::cuda {
namespace {

constexpr int threads = 256, stages = 3;
constexpr std::uint32_t tile_rows = 128, tile_columns = 64, units = tile_columns / 8;  // a unit is 16 bytes
constexpr std::uint32_t warp_tokens = 32, token_tiles = warp_tokens / 8, pairs = 2;
constexpr std::uint32_t stage_values = (tile_rows + wide_tokens) * tile_columns;
constexpr std::size_t shared_bytes = stages * stage_values * sizeof(std::uint16_t);

// Two rows that lanes read in one turn lie in different halves of the banks: rows of weights are `apart` rows apart.
template <std::uint32_t Apart>
__device__ std::uint32_t place(std::uint32_t row, std::uint32_t unit) {
  return row * units + (unit ^ (row / Apart % 2 * 4));
}

// Up: rows 0..63 of the tile are of the gate, the others of up; a pair is 16 rows of each. Down: a pair is 32 rows.
template <bool Up>
struct wide_tile {
  static constexpr std::uint32_t apart = Up ? 2 : 4;  // rows between those of neighbouring lanes
  const expert_args& a;
  std::uint16_t* room;
  std::uint32_t columns;
  const std::uint16_t* weights[4];  // this thread's part of a stage: row and first unit
  const std::uint16_t* tokens[4];

  __device__ void aim(const std::byte* bundle, const active_slot& work, std::uint32_t row_tile) {
    columns = Up ? a.shape.hidden : a.intermediate;
    const auto* x = Up ? (a.rows != nullptr ? a.rows : a.step->at[a.step->rank].rows) : a.inner;
    const auto unit = threadIdx.x % units;
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) {
      const auto row = threadIdx.x / units + 32 * i;
      const auto* base = reinterpret_cast<const std::uint16_t*>(
          bundle + (Up ? (row < 64 ? a.bundle.gate : a.bundle.up) : a.bundle.down));
      const auto at = Up ? row_tile * 64 + row % 64 : row_tile * tile_rows + row;
      weights[i] = base + std::size_t{at} * columns + unit * 8;
      const auto job = work.first + min(row, work.count - 1);
      tokens[i] = x + std::size_t{Up ? a.jobs[job].row : job} * columns + unit * 8;
    }
  }

  __device__ void fetch(std::uint32_t step) {
    if (step * tile_columns < columns) {
      auto* to = room + step % stages * stage_values;
      const auto unit = threadIdx.x % units;
#pragma unroll
      for (std::uint32_t i = 0; i < 4; ++i) {
        const auto row = threadIdx.x / units + 32 * i;
        copy_unit(to + place<apart>(row, unit) * 8, weights[i] + step * tile_columns);
        copy_unit(to + tile_rows * tile_columns + place<1>(row, unit) * 8, tokens[i] + step * tile_columns);
      }
    }
    close_group();
  }

  // The rows of pair `p` that this lane multiplies: two of each of two matrices.
  __device__ static std::uint32_t row_of(std::uint32_t p, std::uint32_t i) {
    const auto half = threadIdx.x / 32 % 2, group = threadIdx.x % 32 / 4;
    return Up ? half * 32 + p * 16 + 2 * group + i % 2 + i / 2 * 64 : half * 64 + p * 32 + 4 * group + i;
  }
  __device__ static std::uint32_t first_token() { return threadIdx.x / 64 * warp_tokens; }

  __device__ void multiply(std::uint32_t step, float (&sum)[pairs][2][token_tiles][4]) const {
    const auto* from = room + step % stages * stage_values;
    const auto* w = reinterpret_cast<const uint4*>(from);
    const auto* x = reinterpret_cast<const uint4*>(from + tile_rows * tile_columns);
    const auto quad = threadIdx.x % 4, group = threadIdx.x % 32 / 4;
#pragma unroll
    for (std::uint32_t chunk = 0; chunk < units / 4; ++chunk) {
      uint4 token[token_tiles];
#pragma unroll
      for (std::uint32_t t = 0; t < token_tiles; ++t)
        token[t] = x[place<1>(first_token() + t * 8 + group, chunk * 4 + quad)];
#pragma unroll
      for (std::uint32_t p = 0; p < pairs; ++p) {
        uint4 row[4];
#pragma unroll
        for (std::uint32_t i = 0; i < 4; ++i) row[i] = w[place<apart>(row_of(p, i), chunk * 4 + quad)];
#pragma unroll
        for (std::uint32_t t = 0; t < token_tiles; ++t) {
          product(sum[p][0][t], row[0].x, row[1].x, row[0].y, row[1].y, token[t].x, token[t].y);
          product(sum[p][0][t], row[0].z, row[1].z, row[0].w, row[1].w, token[t].z, token[t].w);
          product(sum[p][1][t], row[2].x, row[3].x, row[2].y, row[3].y, token[t].x, token[t].y);
          product(sum[p][1][t], row[2].z, row[3].z, row[2].w, row[3].w, token[t].z, token[t].w);
        }
      }
    }
  }

  __device__ void run(float (&sum)[pairs][2][token_tiles][4]) {
    for (auto& p : sum)
      for (auto& m : p)
        for (auto& t : m)
          for (auto& v : t) v = 0;
    const auto steps = columns / tile_columns;
#pragma unroll
    for (std::uint32_t s = 0; s < stages - 1; ++s) fetch(s);
    for (std::uint32_t s = 0; s < steps; ++s) {
      await_groups_but<stages - 2>();
      __syncthreads();  // stage s has arrived for all, and nobody reads the one that is overwritten now
      fetch(s + stages - 1);
      multiply(s, sum);
    }
    __syncthreads();
  }

  __device__ void store(const active_slot& work, std::uint32_t row_tile,
                        const float (&sum)[pairs][2][token_tiles][4]) const {
    const auto quad = threadIdx.x % 4;
#pragma unroll
    for (std::uint32_t t = 0; t < token_tiles; ++t)
#pragma unroll
      for (std::uint32_t v = 0; v < 2; ++v) {
        const auto token = first_token() + t * 8 + 2 * quad + v;
        if (token >= work.count) continue;
#pragma unroll
        for (std::uint32_t p = 0; p < pairs; ++p) {
          const auto row = row_tile * (Up ? 64 : tile_rows) + row_of(p, 0);
          if constexpr (Up)
            store_inner(a, work.first + token, row, sum[p][0][t][v], sum[p][1][t][v], sum[p][0][t][v + 2],
                        sum[p][1][t][v + 2]);
          else
            store_answer(a, work.first + token, row,
                         make_float4(sum[p][0][t][v], sum[p][0][t][v + 2], sum[p][1][t][v], sum[p][1][t][v + 2]));
        }
      }
  }
};

template <bool Up>
__global__ void __launch_bounds__(threads, 2) multiply_wide(expert_args a) {
  extern __shared__ __align__(128) std::uint16_t room[];
  __shared__ std::uint32_t taken;
  const auto row_tiles = Up ? a.intermediate / 64 : a.shape.hidden / tile_rows;
  const auto items = *a.wide_count * row_tiles;
  for (;;) {
    if (threadIdx.x == 0) taken = atomicAdd(a.queue + (Up ? 4 : 5), 1);
    __syncthreads();
    const auto item = taken;
    if (item >= items) break;
    const auto work = a.wide[item / row_tiles];
    wide_tile<Up> tile{a, room};
    tile.aim(a.slots[work.slot].bundle, work, item % row_tiles);
    float sum[pairs][2][token_tiles][4];
    tile.run(sum);
    tile.store(work, item % row_tiles, sum);
  }
}

template <bool Up>
cudaError_t launch(const expert_args& a, std::uint32_t processors, cudaStream_t on) {
  const auto allowed =  // of the current GPU alone
      cudaFuncSetAttribute(multiply_wide<Up>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (allowed != cudaSuccess) return allowed;
  multiply_wide<Up><<<processors * 2, threads, shared_bytes, on>>>(a);
  return cudaGetLastError();
}

}  // namespace

bool can_be_wide(const shape_view& s) {
  return s.type == weight_type::bf16 && s.hidden % tile_rows == 0 && s.intermediate % tile_columns == 0;
}

cudaError_t multiply_wide_up(const expert_args& a, std::uint32_t processors, cudaStream_t on) {
  return launch<true>(a, processors, on);
}
cudaError_t multiply_wide_down(const expert_args& a, std::uint32_t processors, cudaStream_t on) {
  return launch<false>(a, processors, on);
}

}  // namespace ballast::gpu::cuda
