#include "policies/share_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "policies/lanes_impl.hpp"

namespace ballast::policies {

namespace {

constexpr double tolerance = 1e-5;
constexpr float never = 1e30F;

struct candidate {
  bool copy = false;
  std::uint32_t from = 0, lane = 0;  // lanes; a copy's is of the expert at `from`
  float score = 0, price = 0;
};

// The best few.
struct shortlist {
  static constexpr std::size_t most = 4;
  std::array<candidate, most> found;
  std::size_t count = 0;
  float bar(float least) const { return count < most ? least : std::max(least, found[most - 1].score); }
  void add(const candidate& c) {
    if (count < most) ++count;
    auto at = count - 1;
    for (; at > 0 && found[at - 1].score < c.score; --at) found[at] = found[at - 1];
    found[at] = c;
  }
};

template <std::uint32_t width, std::uint32_t power>
class shared_searcher {
  using floats = typename vec<width>::type;

 public:
  BALLAST_INLINE shared_searcher(dense_layer& layer, const search_limits& limits, shared_space& space)
      : d_(layer), limits_(limits), s_(space) {}

  BALLAST_INLINE std::uint32_t run(float enough) {
    std::uint32_t done = 0, idle = 0;
    total_ = divide();
    const float start_peak = peak_;
    s_.best_experts = d_.expert_at;
    s_.quiet.assign(d_.ranks, 0);
    if (peak_ <= enough) return 0;
    while (done < limits_.changes_max && idle < limits_.idle_scans_max) {
      const auto rank = hottest_awake();
      if (rank == d_.ranks) break;
      s_.quiet[rank] = 1;
      if (!look_from(rank)) {
        ++idle;
        continue;
      }
      s_.quiet.assign(d_.ranks, 0);
      idle = 0;
      ++done;
      if (peak_ <= start_peak * (1 + 1e-6F)) s_.best_experts = d_.expert_at;
    }
    return done;
  }

 private:
  BALLAST_INLINE static void raise(floats& x) {
    x *= x;
    x *= x;
    x *= x;
    if constexpr (power == 16) x *= x;
  }
  static double raised(double x) {
    for (std::uint32_t p = 1; p < power; p *= 2) x *= x;
    return x;
  }

  void build_graph() {
    s_.graph.clear(d_.ranks);
    s_.expert_of_choice.clear();
    s_.choice_of_expert.assign(d_.experts + 1, ~0U);
    for (std::uint32_t e = 0; e < d_.experts; ++e) {
      if (d_.copies[e] < 2) continue;
      for (std::uint32_t k = 0; k < d_.copies[e]; ++k) s_.graph.rank.push_back(d_.rank_at[d_.lanes_of(e)[k]]);
      s_.choice_of_expert[e] = static_cast<std::uint32_t>(s_.expert_of_choice.size());
      s_.expert_of_choice.push_back(e);
      s_.graph.close_expert();
    }
    s_.flow.use(s_.graph);
  }
  void set_loads() {
    const auto choices = s_.expert_of_choice.size();
    s_.choice_load.resize(choices * d_.snapshots);
    s_.base.assign(std::size_t{d_.ranks} * d_.snapshots, 0.0);
    s_.speed.resize(d_.ranks);
    for (std::uint32_t r = 0; r < d_.ranks; ++r) {
      s_.speed[r] = d_.table.speed[r];
      for (auto lane = d_.first[r]; lane < d_.first[r] + d_.table.room[r]; ++lane) {
        const auto e = d_.expert_at[lane];
        if (e == d_.experts || d_.copies[e] > 1) continue;
        for (std::uint32_t s = 0; s < d_.snapshots; ++s) s_.base[s * d_.ranks + r] += d_.weight[e * d_.row + s];
      }
    }
    for (std::size_t c = 0; c < choices; ++c) {
      for (std::uint32_t s = 0; s < d_.snapshots; ++s)
        s_.choice_load[s * choices + c] = d_.weight[s_.expert_of_choice[c] * d_.row + s];
    }
  }

  // The sum of a power of the ranks' loads with the best shares; stops above `limit`.
  double weigh(double limit) {
    build_graph();
    set_loads();
    double sum = 0;
    for (std::uint32_t s = 0; s < d_.snapshots && sum <= limit; ++s) {
      solve(s);
      for (std::uint32_t r = 0; r < d_.ranks; ++r) sum += raised(s_.flow.level_of(s_.flow.class_of_rank(r)));
    }
    return sum;
  }
  void solve(std::uint32_t s) {
    s_.flow.solve(
        {s_.choice_load.data() + s * s_.expert_of_choice.size(), s_.base.data() + s * d_.ranks, s_.speed.data()},
        tolerance);
  }

  // The same, with all that the search looks at.
  double divide() {
    build_graph();
    set_loads();
    s_.level.assign(d_.ranks * d_.row, 0.0F);
    s_.pace.assign(d_.ranks * d_.row, 0.0F);
    s_.ranks_of.assign(d_.ranks * d_.row, 0.0F);
    s_.of_rank.assign(d_.ranks * d_.row, 0);
    s_.least.assign(std::size_t{d_.lanes} * d_.row, 0.0F);
    s_.most.assign(std::size_t{d_.lanes} * d_.row, 0.0F);
    double sum = 0;
    for (std::uint32_t s = 0; s < d_.snapshots; ++s) {
      solve(s);
      float peak = 0;
      for (std::uint32_t r = 0; r < d_.ranks; ++r) {
        const auto c = s_.flow.class_of_rank(r);
        const double level = s_.flow.level_of(c);
        sum += raised(level);
        peak = std::max(peak, static_cast<float>(level));
        s_.level[r * d_.row + s] = static_cast<float>(level);
        s_.pace[r * d_.row + s] = static_cast<float>(1 / s_.flow.speed_of(c));
        s_.of_rank[r * d_.row + s] = static_cast<std::int32_t>(c);
      }
      if (s == 0) peak_ = peak;
      count_class(s);
      movable(s);
    }
    return sum;
  }
  void count_class(std::uint32_t s) {
    auto& count = s_.count;
    count.assign(d_.ranks, 0.0F);
    for (std::uint32_t r = 0; r < d_.ranks; ++r) count[static_cast<std::size_t>(s_.of_rank[r * d_.row + s])] += 1;
    for (std::uint32_t r = 0; r < d_.ranks; ++r)
      s_.ranks_of[r * d_.row + s] = count[static_cast<std::size_t>(s_.of_rank[r * d_.row + s])];
  }
  // How much load goes from a rank's class when a replica goes: all of an expert's, or as much as one likes, or none.
  void movable(std::uint32_t s) {
    for (std::uint32_t e = 0; e < d_.experts; ++e) {
      const float w = d_.weight[e * d_.row + s];
      const auto* at = d_.lanes_of(e);
      if (d_.copies[e] == 1) {
        s_.least[at[0] * d_.row + s] = s_.most[at[0] * d_.row + s] = w;
        continue;
      }
      if (d_.copies[e] == 0) continue;
      const auto c = static_cast<std::int32_t>(s_.flow.class_of_expert(s_.choice_of_expert[e]));
      std::uint32_t inside = 0;
      for (std::uint32_t k = 0; k < d_.copies[e]; ++k) inside += s_.of_rank[d_.rank_at[at[k]] * d_.row + s] == c;
      for (std::uint32_t k = 0; k < d_.copies[e]; ++k) {
        if (s_.of_rank[d_.rank_at[at[k]] * d_.row + s] != c) continue;
        s_.most[at[k] * d_.row + s] = w;
        s_.least[at[k] * d_.row + s] = inside == 1 ? w : 0;
      }
    }
  }

  BALLAST_INLINE std::uint32_t hottest_awake() const {
    std::uint32_t top = d_.ranks;
    double most = 0;
    for (std::uint32_t r = 0; r < d_.ranks; ++r) {
      if (s_.quiet[r] != 0) continue;
      double heat = 0;
      for (std::uint32_t s = 0; s < d_.snapshots; ++s) heat += raised(s_.level[r * d_.row + s]);
      if (top == d_.ranks || heat > most) top = r, most = heat;
    }
    return top;
  }

  // Power mean of all ranks, in units of one rank's mean load, times their number: as in improve().
  double norm(double total) const {
    double root = total / d_.ranks;
    for (std::uint32_t p = 1; p < power; p *= 2) root = std::sqrt(root);
    return root;
  }
  float unit() const { return static_cast<float>(norm(total_) / (total_ * power)); }

  BALLAST_INLINE bool look_from(std::uint32_t a) {
    shortlist list;
    scale_ = unit();
    for (std::uint32_t b = 0; b < d_.ranks; ++b) {
      if (b == a) continue;
      between(a, b);
      if (!(gain_at_most() * scale_ > limits_.gain_min)) continue;
      exchanges(a, b, list);
      copies(a, b, list);
    }
    for (std::size_t k = 0; k < list.count; ++k) {
      if (try_out(list.found[k])) return true;
    }
    return false;
  }

  // What would even out the two classes in every snapshot.
  BALLAST_INLINE void between(std::uint32_t a, std::uint32_t b) {
    s_.even_out.resize(d_.row);
    s_.lose.resize(d_.row);
    s_.win.resize(d_.row);
    before_ = 0;
    for (std::uint32_t s = 0; s < d_.row; ++s) {
      const auto x = a * d_.row + s, y = b * d_.row + s;
      const bool apart = s < d_.snapshots && s_.of_rank[x] != s_.of_rank[y];
      s_.lose[s] = apart ? s_.pace[x] : 0;
      s_.win[s] = apart ? s_.pace[y] : 0;
      s_.even_out[s] = apart ? (s_.level[x] - s_.level[y]) / (s_.pace[x] + s_.pace[y]) : 0;
      before_ += s_.ranks_of[x] * static_cast<float>(raised(s_.level[x])) +
                 s_.ranks_of[y] * static_cast<float>(raised(s_.level[y]));
    }
    a_ = a;
    b_ = b;
  }

  // Power sum of both classes after a load in [least, most] has gone from a's to b's.
  BALLAST_INLINE float after(const float* least, const float* most, const float* least_back, const float* most_back) {
    lane_sums sums;
    for (std::uint32_t s = 0; s < d_.row; s += width) {
      floats lo, hi, lo_back, hi_back, d, la, lb, lose, win, na, nb;
      load<width>(lo, least + s);
      load<width>(hi, most + s);
      load<width>(lo_back, least_back + s);
      load<width>(hi_back, most_back + s);
      load<width>(d, &s_.even_out[s]);
      load<width>(la, &s_.level[a_ * d_.row + s]);
      load<width>(lb, &s_.level[b_ * d_.row + s]);
      load<width>(na, &s_.ranks_of[a_ * d_.row + s]);
      load<width>(nb, &s_.ranks_of[b_ * d_.row + s]);
      load<width>(lose, &s_.lose[s]);
      load<width>(win, &s_.win[s]);
      lo -= hi_back;
      hi -= lo_back;
      d = d < lo ? lo : d;
      d = d > hi ? hi : d;
      la -= d * lose;
      lb += d * win;
      raise(la);
      raise(lb);
      floats sum;
      load<width>(sum, sums.at + s % lane_count);
      sum += la * na + lb * nb;
      store<width>(sums.at + s % lane_count, sum);
    }
    return sums.total();
  }
  BALLAST_INLINE float gain_at_most() {
    float best = 0;
    for (std::uint32_t s = 0; s < d_.snapshots; ++s) {
      const auto x = a_ * d_.row + s, y = b_ * d_.row + s;
      if (s_.lose[s] == 0) continue;
      const double even = s_.level[x] - s_.even_out[s] * s_.lose[s];
      best += s_.ranks_of[x] * static_cast<float>(raised(s_.level[x]) - raised(even)) +
              s_.ranks_of[y] * static_cast<float>(raised(s_.level[y]) - raised(even));
    }
    return best;
  }

  BALLAST_INLINE float price_to(std::uint32_t expert, std::uint32_t rank) const {
    return d_.held_at_start(expert, rank) ? 0 : limits_.write_price[rank];
  }
  BALLAST_INLINE bool may_leave(std::uint32_t expert, std::uint32_t from, std::uint32_t to) const {
    return d_.table.node[from] == d_.table.node[to] || !d_.bound_to_home(expert, d_.table.node[from]);
  }

  BALLAST_INLINE void exchanges(std::uint32_t a, std::uint32_t b, shortlist& list) {
    for (auto i = d_.first[a]; i < d_.first[a] + d_.table.room[a]; ++i) {
      const auto e = d_.expert_at[i];
      if (e == d_.experts || d_.holds(e, b) || !may_leave(e, a, b)) continue;
      const float fixed = price_to(e, b) - d_.written[i] * limits_.write_price[a];
      for (auto j = d_.first[b]; j < d_.first[b] + d_.table.room[b]; ++j) {
        const auto f = d_.expert_at[j];
        if (f != d_.experts && (d_.holds(f, a) || !may_leave(f, b, a))) continue;
        const float price = fixed - d_.written[j] * limits_.write_price[b] + (f == d_.experts ? 0 : price_to(f, a));
        const float score = (before_ - after(&s_.least[i * d_.row], &s_.most[i * d_.row], &s_.least[j * d_.row],
                                             &s_.most[j * d_.row])) *
                                scale_ -
                            price;
        if (score > list.bar(limits_.gain_min)) list.add({false, i, j, score, price});
      }
    }
  }

  // A further copy of an expert of a in place of a redundant one on b.
  BALLAST_INLINE void copies(std::uint32_t a, std::uint32_t b, shortlist& list) {
    s_.nothing.assign(d_.row, 0.0F);
    const float* nothing = s_.nothing.data();
    bool empty_seen = d_.replicas >= limits_.replicas_max;
    for (auto j = d_.first[b]; j < d_.first[b] + d_.table.room[b]; ++j) {
      const auto f = d_.expert_at[j];
      if (f == d_.experts ? empty_seen : d_.copies[f] < 2 || d_.bound_to_home(f, d_.table.node[b])) continue;
      empty_seen = empty_seen || f == d_.experts;
      for (auto i = d_.first[a]; i < d_.first[a] + d_.table.room[a]; ++i) {
        const auto e = d_.expert_at[i];
        if (e == d_.experts || e == f || d_.holds(e, b)) continue;
        const float price = price_to(e, b) - d_.written[j] * limits_.write_price[b];
        const float score = (before_ - after(nothing, &s_.most[i * d_.row], nothing, nothing)) * scale_ - price;
        if (score > list.bar(limits_.gain_min)) list.add({true, i, j, score, price});
      }
    }
  }

  BALLAST_INLINE void swap(std::uint32_t i, std::uint32_t j) {
    const auto e = d_.expert_at[i], f = d_.expert_at[j];
    d_.vacate(i);
    d_.vacate(j);
    if (f != d_.experts) d_.occupy(i, f);
    if (e != d_.experts) d_.occupy(j, e);
  }
  BALLAST_INLINE void put(std::uint32_t lane, std::uint32_t expert) {
    d_.vacate(lane);
    if (expert != d_.experts) d_.occupy(lane, expert);
  }

  BALLAST_INLINE bool try_out(const candidate& c) {
    const auto old = d_.expert_at[c.lane];
    if (c.copy) {
      put(c.lane, d_.expert_at[c.from]);
    } else {
      swap(c.from, c.lane);
    }
    const double least_gain = std::max(c.price, 0.0F) + limits_.gain_min;
    const double target = norm(total_) * d_.ranks - least_gain;
    const double limit = target > 0 ? d_.ranks * raised(target / d_.ranks) : 0;
    if (weigh(limit) <= limit) {
      total_ = divide();
      return true;
    }
    if (c.copy) {
      put(c.lane, old);
    } else {
      swap(c.from, c.lane);
    }
    return false;
  }

  dense_layer& d_;
  const search_limits& limits_;
  shared_space& s_;
  std::uint32_t a_ = 0, b_ = 0;
  double total_ = 0;
  float peak_ = 0, scale_ = 0, before_ = 0;
};

struct shared_job {
  dense_layer& layer;
  const search_limits& limits;
  float enough;
  shared_space& space;

  template <std::uint32_t width>
  BALLAST_INLINE std::uint32_t run() const {
    if (limits.power == 16) return shared_searcher<width, 16>(layer, limits, space).run(enough);
    return shared_searcher<width, 8>(layer, limits, space).run(enough);
  }
};

std::uint32_t run_plain(const shared_job& job) { return job.run<8>(); }
#if defined(__x86_64__)
[[gnu::target("avx2")]] std::uint32_t run_avx2(const shared_job& job) { return job.run<8>(); }
#endif

}  // namespace

std::uint32_t improve_shared(dense_layer& layer, const search_limits& limits, float enough, shared_space& space) {
  const shared_job job{layer, limits, enough, space};
#if defined(__x86_64__)
  static const isa host = host_isa();
  if (host != isa::plain) return run_avx2(job);
#endif
  return run_plain(job);
}

}  // namespace ballast::policies
