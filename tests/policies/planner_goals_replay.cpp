#include "tests/policies/planner_goals_replay.hpp"

#include <algorithm>
#include <ctime>

#include "policies/eplb.hpp"
#include "policies/shares.hpp"
#include "tests/policies/planner_goals_judge.hpp"

namespace ballast::policies::goals {

namespace {

constexpr double fading = 0.3;     // of the parts of an interval, for shares that are solved once
constexpr double even_part = 0.5;  // of them
constexpr double few = 4;          // slots a rank receives in a rebalance: below that nobody is busy

struct tally {
  figures sum;
  std::size_t rebalances = 0, layers = 0;
  std::vector<double> ms;

  figures finish(std::size_t slots) const {
    figures out = sum;
    const auto n = static_cast<double>(layers);
    out.plan_mean /= n;
    out.next_mean /= n;
    out.moved /= n * static_cast<double>(slots);
    out.busiest = rebalances == 0 ? 1 : out.busiest / static_cast<double>(rebalances);
    out.plan_ms = median(ms);
    return out;
  }
};

// The slots' experts that their rank did not hold before, by rank.
std::vector<std::uint32_t> received(const plan_shape& shape, const std::int32_t* before, const std::int32_t* after) {
  std::vector<std::uint32_t> out(shape.ranks.size());
  for (std::size_t r = 0; r < out.size(); ++r) {
    const auto room = shape.ranks[r].slots;
    for (std::uint32_t k = 0; k < room; ++k)
      out[r] += after[k] >= 0 && std::find(before, before + room, after[k]) == before + room;
    before += room;
    after += room;
  }
  return out;
}

snapshot recent_mean(const trace& t, std::size_t now) {
  snapshot out(t.intervals[now].size());
  double weight = 1;
  for (auto i = (now + 1) * t.parts_each; i-- > now * t.parts_each; weight *= fading) {
    for (std::size_t k = 0; k < out.size(); ++k) out[k] += weight * t.parts[i][k];
  }
  return out;
}

class replayer {
 public:
  replayer(const scenario& s, const trace& t, const way& how)
      : shape_(shape_of(s, t)), trace_(t), how_(how), judge_(shape_), slots_(shape_.slots()) {}

  template <class planning>
  figures run(planning&& plan) {
    std::vector<std::int32_t> before(std::size_t{trace_.layers} * slots_), after(before.size());
    for (std::size_t now = 0; now + 1 < trace_.intervals.size(); ++now) {
      const auto begin = cpu_ms();
      plan(now, now == 0 ? nullptr : before.data(), after.data());
      const auto took = cpu_ms() - begin;
      if (now > 0) {  // the first one is warm-up
        tally_.ms.push_back(took);
        judge(now, before, after);
      }
      before = after;
    }
    return tally_.finish(slots_);
  }
  const plan_shape& shape() const { return shape_; }

 private:
  void judge(std::size_t now, const std::vector<std::int32_t>& before, const std::vector<std::int32_t>& after) {
    const auto known = recent_mean(trace_, now);
    std::vector<std::uint32_t> incoming(shape_.ranks.size());
    for (std::size_t l = 0; l < trace_.layers; ++l) {
      const auto* slots = after.data() + l * slots_;
      const auto at = l * trace_.experts;
      judge_.look_at(slots);
      if (!judge_.legal()) tally_.sum.faults.push_back(judge_.fault());
      const auto* planned = trace_.intervals[now].data() + at;
      const auto* next = trace_.intervals[now + 1].data() + at;
      const double on_plan = par(planned, planned), on_next = par(known.data() + at, next);
      tally_.sum.plan_mean += on_plan;
      tally_.sum.plan_max = std::max(tally_.sum.plan_max, on_plan);
      tally_.sum.next_mean += on_next;
      tally_.sum.next_max = std::max(tally_.sum.next_max, on_next);
      ++tally_.layers;
      const auto got = received(shape_, before.data() + l * slots_, slots);
      for (std::size_t r = 0; r < got.size(); ++r) incoming[r] += got[r], tally_.sum.moved += got[r];
      check_not_worse(before.data() + l * slots_, planned, on_plan);
      keep_sample(before.data() + l * slots_, next);
    }
    const auto most = *std::max_element(incoming.begin(), incoming.end());
    double mean = 0;
    for (const auto n : incoming) mean += n;
    mean /= static_cast<double>(incoming.size());
    if (mean < few) return;
    ++tally_.rebalances;
    tally_.sum.busiest += most / mean;
  }
  void keep_sample(const std::int32_t* before, const double* next) {
    const auto all = trace_.layers * (trace_.intervals.size() - 2), at = tally_.layers - 1;
    if ((at + 1) * how_.samples / all > at * how_.samples / all)
      tally_.sum.samples.push_back({{before, before + slots_}, next});
  }
  void check_not_worse(const std::int32_t* before, const double* planned, double after) {
    if (how_.options.start == plan_options::start_t::nothing || how_.foresight) return;
    judge_.look_at(before);
    if (after > par(planned, planned) * (1 + 1e-5) && how_.shares != shares_t::once)
      tally_.sum.faults.emplace_back("a layer got worse");
  }
  double par(const double* known, const double* load) {
    if (how_.shares == shares_t::even) return judge_.even(load);
    return how_.shares == shares_t::once ? judge_.with_shares_for(known, load, even_part) : judge_.best(load);
  }

  plan_shape shape_;
  const trace& trace_;
  const way& how_;
  layer_judge judge_;
  std::uint32_t slots_;
  tally tally_;
};

}  // namespace

double cpu_ms() { return 1e3 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

result<figures> replay(const scenario& s, const trace& t, const way& how) {
  replayer run(s, t, how);
  auto usual = planner::make(run.shape(), how.options);
  if (!usual) return fail(usual.error());
  auto first = planner::make(run.shape(), how.first.value_or(how.options));
  if (!first) return fail(first.error());
  return run.run([&](std::size_t now, const std::int32_t* current, std::int32_t* out) {
    auto loads = seen_at(t, how.foresight ? now + 1 : now);
    if (!how.history || how.foresight) loads = {loads.last, {}, {}};
    (current == nullptr ? *first : *usual).plan(loads, current, out);
  });
}

result<figures> replay_deepseek(const scenario& s, const trace& t, std::uint32_t groups) {
  way how;
  how.options.start = plan_options::start_t::nothing;
  replayer run(s, t, how);
  std::vector<eplb_seat> seats;
  for (const auto& r : run.shape().ranks) seats.push_back({r.slots, r.node, r.speed});
  return run.run([&](std::size_t now, const std::int32_t*, std::int32_t* out) {
    for (std::size_t l = 0; l < t.layers; ++l) {
      const auto row = t.intervals[now].begin() + static_cast<std::ptrdiff_t>(l * t.experts);
      const std::vector<double> loads(row, row + t.experts);
      for (const auto& on : eplb_layer(loads, groups, seats)) out = std::copy(on.begin(), on.end(), out);
    }
  });
}

result<share_figures> time_shares(const scenario& s, const trace& t) {
  const auto shape = shape_of(s, t);
  auto made = planner::make(shape, for_solved_shares(plan_options{}));
  if (!made) return fail(made.error());
  std::vector<std::int32_t> slots(std::size_t{t.layers} * shape.slots());
  made->plan(seen_at(t, 0), nullptr, slots.data());
  placement table;
  std::vector<seat_info> seats;
  for (std::uint32_t r = 0; r < shape.ranks.size(); ++r)
    seats.push_back({seat_id{r}, 0, 1.0, {shape.ranks[r].slots, 0}});
  for (std::size_t l = 0; l < t.layers; ++l) {
    auto& layer = table.layers.emplace_back(t.experts);
    const auto* at = slots.data() + l * shape.slots();
    for (std::uint32_t r = 0; r < shape.ranks.size(); ++r) {
      for (std::uint32_t k = 0; k < shape.ranks[r].slots; ++k, ++at)
        if (*at >= 0) layer[static_cast<std::size_t>(*at)].push_back({seat_id{r}, k, 1.0});
    }
  }
  share_figures out;
  std::vector<double> times;
  for (std::size_t i = 1; i < t.intervals.size(); ++i) {
    load_matrix loads;
    for (auto at = t.intervals[i].begin(); at != t.intervals[i].end(); at += t.experts)
      loads.emplace_back(at, at + t.experts);
    for (int again = 0; again < 20; ++again) {
      const auto begin = cpu_ms();
      auto solved = solve_shares(std::move(table), loads, seats);
      times.push_back((cpu_ms() - begin) * 1e3 / t.layers);
      if (!solved) return fail(solved.error());
      for (const auto& c : solved->layers) out.worst_gap = std::max(out.worst_gap, c.peak / c.bound - 1);
      table = std::move(solved->table);
    }
  }
  out.us_a_layer = median(times);
  return out;
}

}  // namespace ballast::policies::goals
