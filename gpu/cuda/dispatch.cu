// From logits to rows at their experts' ranks, and from what has arrived to lists of work.
#include <math_constants.h>

#include "gpu/cuda/device_math.cuh"

namespace ballast::gpu::cuda {
namespace {

constexpr int token_threads = 128;

__device__ std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Replicas are met in proportion to their shares, as evenly as a golden-ratio sequence over the step's tokens does it.
__device__ copy_view draw(const routing_view& routing, std::uint32_t place, std::uint64_t step, std::uint64_t n) {
  constexpr std::uint64_t golden = 0x9e3779b97f4a7c15ull;
  auto at = routing.first[place];
  const auto last = routing.first[place + 1] - 1;
  if (at < last) {
    const auto point = mix(step * golden + place) + n * golden;
    while (at < last && point >= routing.copies[at].below) ++at;
  }
  return routing.copies[at];
}

// What one warp needs to choose a token's experts.
struct choice_state {
  float score[max_experts];
  float wish[max_experts];  // by which experts are chosen
  float worth[32];          // by group
  pick picks[max_top_k];
};

__device__ float warp_max(float v) {
  for (int step = 16; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, step));
  return v;
}
__device__ float warp_sum(float v) {
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
  return v;
}

__device__ void score_experts(const shape_view& shape, const float* logits, const float* bias, choice_state& s,
                              std::uint32_t lane) {
  float top = -CUDART_INF_F, sum = 0;
  for (auto e = lane; e < shape.experts; e += 32) top = fmaxf(top, logits[e]);
  top = warp_max(top);
  for (auto e = lane; e < shape.experts; e += 32) {
    s.score[e] = shape.sigmoid ? 1.0f / (1.0f + expf(-logits[e])) : expf(logits[e] - top);
    sum += s.score[e];
  }
  sum = warp_sum(sum);
  for (auto e = lane; e < shape.experts; e += 32) {
    if (!shape.sigmoid) s.score[e] /= sum;
    const float wish = bias == nullptr ? s.score[e] : s.score[e] + bias[e];
    s.wish[e] = wish > -CUDART_MAX_NORMAL_F ? wish : -CUDART_MAX_NORMAL_F;  // not a number: last
  }
  __syncwarp();
}

// Keeps the experts of the best groups. A group is as good as its two best experts (sigmoid) or its best one (softmax).
__device__ void mask_groups(const shape_view& shape, choice_state& s, std::uint32_t lane) {
  const auto size = shape.experts / shape.groups;
  if (lane < shape.groups) {
    float first = -CUDART_INF_F, second = -CUDART_INF_F;
    for (std::uint32_t i = 0; i < size; ++i) {
      const auto v = s.wish[lane * size + i];
      second = v > first ? first : fmaxf(second, v);
      first = fmaxf(first, v);
    }
    s.worth[lane] = shape.weighted_groups && size > 1 ? first + second : first;
  }
  __syncwarp();
  bool kept = false;
  if (lane < shape.groups) {
    std::uint32_t better = 0;
    for (std::uint32_t g = 0; g < shape.groups; ++g)
      better += s.worth[g] > s.worth[lane] || (s.worth[g] == s.worth[lane] && g < lane);
    kept = better < shape.top_groups;
    if (!kept)
      for (std::uint32_t i = 0; i < size; ++i) s.wish[lane * size + i] = -CUDART_INF_F;
  }
  __syncwarp();
}

// The expert of the largest wish; ties go to the lower one.
__device__ std::uint32_t best_expert(const shape_view& shape, const choice_state& s, std::uint32_t lane) {
  float best = -CUDART_INF_F;
  std::uint32_t at = shape.experts;
  for (auto e = lane; e < shape.experts; e += 32)
    if (at == shape.experts || s.wish[e] > best) {
      best = s.wish[e];
      at = e;
    }
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(~0u, best, step);
    const auto other_at = __shfl_xor_sync(~0u, at, step);
    if (other_at < shape.experts && (at == shape.experts || other > best || (other == best && other_at < at))) {
      best = other;
      at = other_at;
    }
  }
  return at;
}

__device__ void choose(const layer_args& a, choice_state& s, std::uint32_t t, std::uint32_t lane) {
  const auto& shape = a.shape;
  score_experts(shape, a.work.logits + std::size_t{t} * shape.experts, a.dense.bias, s, lane);
  if (shape.groups > 1) mask_groups(shape, s, lane);
  std::uint32_t mine = 0;
  float sum = 0;
  for (std::uint32_t k = 0; k < shape.top_k; ++k) {
    const auto best = best_expert(shape, s, lane);
    if (lane == k) mine = best;
    sum += s.score[best];
    __syncwarp();
    if (lane == 0) s.wish[best] = -CUDART_INF_F;
    __syncwarp();
  }
  if (lane >= shape.top_k) return;
  float weight = s.score[mine];
  if (shape.renormalise) weight /= sum + 1e-20f;
  const auto place = a.layer * shape.experts + mine;
  const auto& step = *a.step;
  const auto where = draw(step.routing, place, step.step, std::uint64_t{t} * step.members + step.rank);
  const auto member = step.rank_of[where.seat];
  s.picks[lane] = {where.slot, mine, member};
  a.work.chosen[std::size_t{t} * shape.top_k + lane] = {weight * shape.routed_scale, member};
}

// A row goes once to every member that has one of its experts; picks go to all, so that members know what is not
// theirs. Where rows travel in blocks, both go into this rank's own block.
__device__ void send(const layer_args& a, const choice_state& s, std::uint32_t t) {
  const auto& step = *a.step;
  const auto top_k = a.shape.top_k, width = a.shape.hidden;
  const auto row = std::size_t{step.rank} * a.shape.max_tokens + t;
  const auto* from = reinterpret_cast<const uint4*>(a.work.own + std::size_t{t} * width);
  const bool blocks = step.blocks != 0;
  for (std::uint32_t m = blocks ? step.rank : 0; m < (blocks ? step.rank + 1 : step.members); ++m) {
    bool wanted = blocks;
    for (std::uint32_t k = 0; k < top_k; ++k) wanted |= s.picks[k].member == m;
    if (threadIdx.x < top_k) step.at[m].picks[row * top_k + threadIdx.x] = s.picks[threadIdx.x];
    if (!wanted) continue;
    auto* to = reinterpret_cast<uint4*>(step.at[m].rows + row * width);
    for (auto i = threadIdx.x; i < width / 8; i += token_threads) to[i] = from[i];
  }
}

__global__ void __launch_bounds__(token_threads) dispatch_kernel(layer_args a) {
  __shared__ choice_state s;
  const auto t = blockIdx.x;
  if (t < a.step->tokens[a.step->rank] && *a.work.failed == 0) {
    if (threadIdx.x < 32) choose(a, s, t, threadIdx.x);
    __syncthreads();
    send(a, s, t);
  }
  signal_when_all_done(a.step, a.layer, signal_rows, a.work.done);
}

constexpr int gather_threads = 1024;

struct gather_state {
  std::uint32_t count[max_entries];
  std::uint32_t first[max_entries];
  std::uint32_t warp_jobs[32], warp_active[32];
  std::uint32_t wide;
};

__device__ bool holds(const layer_args& a, const pick& p) {
  return p.slot < a.shape.entries && a.slots[p.slot].expert == p.expert;
}

template <class Body>
__device__ void for_each_pick(const layer_args& a, Body body) {
  const auto& step = *a.step;
  const auto top_k = a.shape.top_k;
  for (std::uint32_t m = 0; m < step.members; ++m) {
    const auto row0 = m * a.shape.max_tokens;
    const auto* picks = step.at[step.rank].picks + std::size_t{row0} * top_k;
    for (auto i = threadIdx.x; i < step.tokens[m] * top_k; i += gather_threads)
      if (const auto p = picks[i]; p.member == step.rank) body(m, row0 + i / top_k, i, p);
  }
}

__device__ void add_wide(const layer_args& a, gather_state& s, active_slot all) {
  const auto parts = (all.count + wide_tokens - 1) / wide_tokens;
  auto at = atomicAdd(&s.wide, parts);
  for (std::uint32_t done = 0; done < all.count; done += wide_tokens)
    a.work.wide[at++] = {all.slot, all.first + done, min(all.count - done, wide_tokens)};
}

// Exclusive sums over the entries, two of which are a thread's own: places of jobs, and of the active ones in a list.
__device__ void lay_out(const layer_args& a, gather_state& s) {
  const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, e = 2 * threadIdx.x;
  const auto n0 = e < a.shape.entries ? s.count[e] : 0, n1 = e + 1 < a.shape.entries ? s.count[e + 1] : 0;
  const auto narrow = [&](std::uint32_t n) { return n > 0 && n <= a.wide_above; };
  std::uint32_t jobs = n0 + n1, active = narrow(n0) + narrow(n1);
  const auto own_jobs = jobs, own_active = active;
  for (int step = 1; step < 32; step *= 2) {
    const auto j = __shfl_up_sync(~0u, jobs, step), c = __shfl_up_sync(~0u, active, step);
    if (lane >= static_cast<std::uint32_t>(step)) {
      jobs += j;
      active += c;
    }
  }
  if (lane == 31) {
    s.warp_jobs[warp] = jobs;
    s.warp_active[warp] = active;
  }
  __syncthreads();
  std::uint32_t job = jobs - own_jobs, place = active - own_active, all = 0;
  for (std::uint32_t w = 0; w < 32; ++w) {
    if (w < warp) {
      job += s.warp_jobs[w];
      place += s.warp_active[w];
    }
    all += s.warp_active[w];
  }
  if (narrow(n0)) a.work.active[place++] = {e, job, n0};
  if (narrow(n1)) a.work.active[place] = {e + 1, job + n0, n1};
  if (n0 > a.wide_above) add_wide(a, s, {e, job, n0});
  if (n1 > a.wide_above) add_wide(a, s, {e + 1, job + n0, n1});
  if (e < a.shape.entries) s.first[e] = job;
  if (e + 1 < a.shape.entries) s.first[e + 1] = job + n0;
  if (threadIdx.x == 0) *a.work.active_count = all;
}

__global__ void __launch_bounds__(gather_threads) gather_kernel(layer_args a) {
  __shared__ gather_state s;
  auto* counts = a.work.counts + std::size_t{a.layer} * a.shape.entries;
  for (auto e = threadIdx.x; e < a.shape.entries; e += gather_threads) s.count[e] = 0;
  if (threadIdx.x == 0) s.wide = a.work.queue[0] = a.work.queue[1] = a.work.queue[4] = a.work.queue[5] = 0;
  if (!await_members(a.step, a.layer, signal_rows)) {
    if (threadIdx.x == 0) {
      *a.work.active_count = *a.work.wide_count = 0;
      *a.work.failed = 1;
      report(a.work.fault, fault_stopped, a.layer);
    }
    return;
  }
  for_each_pick(a, [&](std::uint32_t m, std::uint32_t, std::uint32_t, pick p) {
    if (holds(a, p)) {
      atomicAdd(&s.count[p.slot], 1);
      return;
    }
    *a.work.failed = 1;
    if (p.slot >= a.shape.entries)
      report(a.work.fault, fault_no_slot, a.layer, m, p.slot, p.expert);
    else
      report(a.work.fault, fault_wrong_expert, a.layer, m, p.slot, p.expert, a.slots[p.slot].expert);
  });
  __syncthreads();
  if (a.count_loads)
    for (auto e = threadIdx.x; e < a.shape.entries; e += gather_threads) counts[e] = s.count[e];
  lay_out(a, s);
  __syncthreads();
  if (threadIdx.x == 0) *a.work.wide_count = s.wide;
  for_each_pick(a, [&](std::uint32_t m, std::uint32_t row, std::uint32_t answer, pick p) {
    if (holds(a, p)) a.work.jobs[atomicAdd(&s.first[p.slot], 1)] = {row, m, answer};
  });
  if (a.step->blocks != 0 && threadIdx.x < a.step->members && threadIdx.x != a.step->rank)
    *verdict_of(a.step->at[threadIdx.x].answers) = *a.work.failed;
}

}  // namespace

cudaError_t dispatch(const layer_args& a, cudaStream_t on) {
  dispatch_kernel<<<a.capacity, token_threads, 0, on>>>(a);
  return cudaGetLastError();
}

cudaError_t gather(const layer_args& a, cudaStream_t on) {
  gather_kernel<<<1, gather_threads, 0, on>>>(a);
  return cudaGetLastError();
}

}  // namespace ballast::gpu::cuda
