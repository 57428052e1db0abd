#include "policies/dense_search.hpp"

#include <algorithm>
#include <cmath>

#include "policies/dense_copies_impl.hpp"
#include "policies/dense_exchanges_impl.hpp"

namespace ballast::policies {

float peak_of_first(const dense_layer& layer) {
  float most = 0;
  for (std::uint32_t r = 0; r < layer.ranks; ++r) most = std::max(most, layer.load[r * layer.row]);
  return most;
}

namespace {

void reserve(search_space& space, const dense_layer& layer) {
  std::uint32_t room = 0;
  for (const auto r : layer.table.room) room = std::max(room, r);
  space.curve.resize(layer.row);
  space.slope.resize(layer.row);
  space.rise.resize(room);
  space.twice.resize(room * layer.row);
  space.bound.resize(layer.ranks);
  space.gain.resize(layer.experts);
  space.loss_known.assign(layer.experts, 0);
  space.gain_known.assign(layer.experts, 0);
  space.net_loss.resize(layer.lanes);
  space.pressure_left.resize(layer.lanes);
  space.quiet.assign(layer.ranks, 0);
}

// `width` lanes side by side, `row_width` snapshots.
template <std::uint32_t width, std::uint32_t row_width, std::uint32_t power>
class searcher {
 public:
  BALLAST_INLINE searcher(dense_layer& layer, const search_limits& limits, search_space& space)
      : d_(layer), limits_(limits), space_(space), ops_{layer} {}

  BALLAST_INLINE std::uint32_t run() {
    std::uint32_t done = 0, idle = 0;
    bool prepared = false;
    const float start_peak = peak_of_first(d_);
    space_.best_experts = d_.expert_at;
    if (start_peak <= limits_.peak_enough) return 0;
    while (done < limits_.changes_max && idle < limits_.idle_scans_max) {
      const auto rank = hottest_awake();
      if (rank == d_.ranks) break;
      space_.quiet[rank] = 1;  // until something changes there: a pair is looked at from both sides
      const float scale = unit();
      if (!(scale > 0)) break;
      found_change best{found_change::none, limits_.gain_min};
      exchange_scan<width, row_width, power> exchanges{ops_, limits_, space_, scale};
      if (exchanges.bounds(rank) <= std::max(limits_.write_price[rank], limits_.gain_min)) continue;
      exchanges.run(rank, best);
      copy_scan<row_width, power> copies{ops_, limits_, space_, scale};
      if (!prepared) copies.prepare();
      prepared = true;
      copies.run(rank, best);
      ++idle;
      if (best.kind == found_change::none) continue;
      apply(best);
      space_.quiet[rank] = 0;
      prepared = false;
      idle = 0;
      ++done;
      const float now = peak_of_first(d_);
      if (now <= start_peak) space_.best_experts = d_.expert_at;
      if (now <= limits_.peak_enough) break;
    }
    return done;
  }

 private:
  std::uint32_t hottest_awake() const {
    std::uint32_t top = d_.ranks;
    for (std::uint32_t r = 0; r < d_.ranks; ++r) {
      if (space_.quiet[r] == 0 && (top == d_.ranks || d_.pressure[r] > d_.pressure[top])) top = r;
    }
    return top;
  }

  // What a unit of pressure is worth: the derivative of the power mean of all ranks, times their number.
  float unit() const {
    float total = 0;
    for (std::uint32_t r = 0; r < d_.ranks; ++r) total += d_.pressure[r];
    float mean = total / static_cast<float>(d_.ranks);
    if (!(mean > 0)) return 0;
    float root = mean;
    for (std::uint32_t p = 1; p < power; p *= 2) root = std::sqrt(root);
    return root / (mean * static_cast<float>(power));
  }

  BALLAST_INLINE void apply(const found_change& change) {
    const auto lane = change.lane, old = d_.expert_at[lane];
    const bool is_exchange = change.kind == found_change::exchange;
    const auto incoming = is_exchange ? d_.expert_at[change.subject] : change.subject;
    if (is_exchange) d_.vacate(change.subject);
    d_.vacate(lane);
    if (is_exchange && old != d_.experts) d_.occupy(change.subject, old);
    d_.occupy(lane, incoming);
    space_.touched.assign(1, d_.rank_at[lane]);
    for (const auto expert : {old, incoming}) {
      if (expert != d_.experts) ops_.spread(expert);
      if (is_exchange || expert == d_.experts) continue;
      const auto* at = d_.lanes_of(expert);
      for (std::uint32_t k = 0; k < d_.copies[expert]; ++k) space_.touched.push_back(d_.rank_at[at[k]]);
    }
    if (is_exchange) {
      space_.touched.push_back(d_.rank_at[change.subject]);
      if (old == d_.experts) ops_.show(change.subject);
    }
    for (const auto rank : space_.touched) {
      ops_.refresh(rank);
      wake(rank);
    }
    if (old != d_.experts) space_.loss_known[old] = space_.gain_known[old] = 0;
  }
  void wake(std::uint32_t rank) {
    space_.quiet[rank] = 0;
    for (auto lane = d_.first[rank]; lane < d_.first[rank] + d_.table.room[rank]; ++lane) {
      if (!d_.is_empty(lane)) space_.loss_known[d_.expert_at[lane]] = space_.gain_known[d_.expert_at[lane]] = 0;
    }
  }

  dense_layer& d_;
  const search_limits& limits_;
  search_space& space_;
  dense_ops<row_width, power> ops_;
};

struct search_job {
  dense_layer& layer;
  const search_limits* limits;  // null: only refresh the loads
  search_space* space;
  std::uint32_t power;

  template <std::uint32_t width, std::uint32_t row_width, std::uint32_t p>
  BALLAST_INLINE std::uint32_t run_with() const {
    if (limits != nullptr) return searcher<width, row_width, p>(layer, *limits, *space).run();
    dense_ops<row_width, p>{layer}.refresh_all();
    return 0;
  }
  template <std::uint32_t width, std::uint32_t row_width>
  BALLAST_INLINE std::uint32_t run_rows() const {
    return power == 16 ? run_with<width, row_width, 16>() : run_with<width, row_width, 8>();
  }
  template <std::uint32_t width>
  BALLAST_INLINE std::uint32_t run() const {
    return layer.snapshots == 1 ? run_rows<width, 1>() : run_rows<width, width>();
  }
};

std::uint32_t run_plain(const search_job& job) { return job.run<8>(); }
#if defined(__x86_64__)
[[gnu::target("avx2")]] std::uint32_t run_avx2(const search_job& job) { return job.run<8>(); }
[[gnu::target("avx512f,avx512vl,avx512bw,avx512dq,prefer-vector-width=512")]] std::uint32_t run_avx512(
    const search_job& job) {
  return job.run<16>();
}
#endif

std::uint32_t run(const search_job& job) {
#if defined(__x86_64__)
  static const isa host = host_isa();
  if (host == isa::avx512) return run_avx512(job);
  if (host == isa::avx2) return run_avx2(job);
#endif
  return run_plain(job);
}

}  // namespace

void refresh_loads(dense_layer& layer, std::uint32_t power) { run({layer, nullptr, nullptr, power}); }

std::uint32_t improve(dense_layer& layer, const search_limits& limits, search_space& space) {
  reserve(space, layer);
  return run({layer, &limits, &space, limits.power});
}

}  // namespace ballast::policies
