#include "cli/offline/replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <mutex>
#include <numeric>
#include <thread>

#include "cli/offline/moves.hpp"
#include "cli/offline/plan_report.hpp"
#include "cli/offline/rank_loads.hpp"
#include "cli/offline/topology.hpp"
#include "policies/net_benefit.hpp"
#include "policies/start_plan.hpp"

namespace ballast::offline {
namespace {

constexpr std::size_t parts_max = 16;
constexpr std::size_t intervals_max = policies::snapshot_weights{}.changes_max;  // what plans look back at

double mean(const std::vector<double>& values) {
  return values.empty() ? 1 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double thread_ms() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// What an interval was like under some placement.
struct seen {
  std::vector<double> layers;  // imbalance of the interval's sums
  double record = 1;           // mean over its records
  std::vector<double> loads;   // [layer * ranks + rank]
};

class replayer {
 public:
  replayer(const replay_input& input, const setting& with, topology on)
      : input_(input), with_(with), on_(std::move(on)), records_(input.recording.records) {
    const auto& meta = input.recording.meta;
    problem_ = problem_for(on_, meta.layers, meta.experts, meta.groups);
    problem_.shares_follow = with.shares != share_mode::even;
  }

  result<run> all() {
    const auto count = records_.size() / with_.interval;
    if (count < 3) {
      return fail(errc::invalid_argument,
                  fmt::format("{} records are fewer than three intervals of {}; give a shorter --interval",
                              records_.size(), with_.interval));
    }
    if (auto ok = lay_out_evenly(); !ok) return fail(ok.error());
    run out;
    out.with = with_;
    out.redundant = on_.redundant;
    for (std::size_t i = 0; i + 1 < count; ++i) {
      auto one = rebalance_after(i);
      if (!one) return fail(one.error());
      out.rebalances.push_back(std::move(*one));
    }
    summarise(out);
    return out;
  }

 private:
  status lay_out_evenly() {
    const auto& meta = input_.recording.meta;
    const auto plain = topology_of({input_.ranks, input_.nodes, 0U, {}}, meta.experts);
    if (!plain) return fail(plain.error());
    auto even = policies::place("static", problem_for(*plain, meta.layers, meta.experts, 1));
    if (!even) return fail(even.error());
    even_ = std::move(*even);
    return {};
  }

  void look_back(std::size_t i) {
    const auto first = i * with_.interval;
    if (i > 0) problem_.history.intervals.push_back(std::move(problem_.loads));
    if (problem_.history.intervals.size() > intervals_max)
      problem_.history.intervals.erase(problem_.history.intervals.begin());
    problem_.loads.clear();
    problem_.history.parts.clear();
    const auto grain = (with_.interval + parts_max - 1) / parts_max;
    for (std::size_t r = 0; r < with_.interval; ++r) {
      if (r % grain == 0) problem_.history.parts.emplace_back();
      policies::add_loads(problem_.history.parts.back(), records_[first + r].tokens);
      policies::add_loads(problem_.loads, records_[first + r].tokens);
    }
  }

  // Interval i under p. With shares per record, those for each record come from the record before it.
  result<seen> look_at(const placement& p, std::size_t i, bool solve) const {
    seen out;
    const auto first = i * with_.interval;
    rank_loads fixed(p, input_.ranks);
    std::vector<double> one, means;
    for (std::size_t r = first; r < first + with_.interval; ++r) {
      one.assign(fixed.size(), 0.0);
      if (solve && r > 0) {
        const auto solved = with_solved_shares(p, records_[r - 1].tokens, on_.seats);
        if (!solved) return fail(solved.error());
        rank_loads(*solved, input_.ranks).add(records_[r].tokens, one);
      } else {
        fixed.add(records_[r].tokens, one);
      }
      means.push_back(mean(layer_imbalance(one, input_.ranks)));
      out.loads.resize(one.size());
      for (std::size_t k = 0; k < one.size(); ++k) out.loads[k] += one[k];
    }
    out.layers = layer_imbalance(out.loads, input_.ranks);
    out.record = mean(means);
    return out;
  }

  bool pays(const rebalance& plan) {
    policies::benefit_question q;
    q.imbalance_before = plan.par_before;
    q.imbalance_after = plan.par_planned;
    q.imbalance_share = input_.cost.imbalance_share;
    q.step_seconds = input_.cost.step_ms / 1e3;
    q.horizon_steps = static_cast<std::uint64_t>(steps());
    q.pages = plan.max_receiver;
    q.seconds_per_page = input_.cost.copy_seconds(1);
    q.slowdown = input_.cost.slowdown;
    q.was_paying = was_paying_;
    was_paying_ = policies::net_benefit(q).pays;
    return was_paying_;
  }

  double steps() const { return input_.cost.steps_per_record * with_.interval; }

  result<placement> planned() {
    const double began = thread_ms();
    auto made = policies::place(with_.policy, problem_);
    if (made && with_.shares != share_mode::even)
      made = with_solved_shares(std::move(*made), problem_.loads, on_.seats);
    plan_ms_ += thread_ms() - began;
    return made;
  }

  result<rebalance> rebalance_after(std::size_t i) {
    look_back(i);
    rebalance out;
    out.record = (i + 1) * with_.interval;
    auto target = planned();
    if (!target) return fail(target.error());
    auto stay = problem_.current ? *problem_.current : *target;
    if (with_.shares != share_mode::even) {
      auto solved = with_solved_shares(std::move(stay), problem_.loads, on_.seats);
      if (!solved) return fail(solved.error());
      stay = std::move(*solved);
    }
    out.par_before = imbalance(stay, problem_.loads, on_.seats).mean;
    out.par_planned = imbalance(*target, problem_.loads, on_.seats).mean;
    const auto moves = count_moves(stay, *target, on_.seats);
    out.max_receiver = moves.max_receiver;
    if (with_.trigger && i > 0 && !pays(out)) {
      out.pays = false;
      out.max_receiver = 0;
      out.par_planned = out.par_before;
      *target = stay;
    } else {
      out.moves = moves.moves;
      out.across_nodes = moves.across_nodes;
      out.layers_moved = moves.layers;
    }
    if (auto ok = judge(i + 1, stay, *target, out); !ok) return fail(ok.error());
    problem_.current = std::move(*target);
    return out;
  }

  status judge(std::size_t next, const placement& stay, const placement& target, rebalance& out) {
    const bool solve = with_.shares == share_mode::record;
    auto after = look_at(target, next, solve);
    if (!after) return fail(after.error());
    const bool changed = out.moves > 0;
    auto stayed = changed ? look_at(stay, next, solve) : after;
    if (!stayed) return fail(stayed.error());
    out.par_static = look_at(even_, next, false)->record;
    const auto spread = spread_of(after->layers);
    out.par_next = spread.mean;
    out.par_next_p95 = spread.p95;
    out.par_next_max = spread.max;
    out.par_record = after->record;
    out.par_stay = mean(stayed->layers);
    out.par_stay_record = stayed->record;
    out.copy_s = input_.cost.copy_seconds(out.max_receiver);
    const auto cost = cost_of_interval(input_.cost, steps(), out.par_stay_record, out.par_record, out.copy_s);
    out.step_ms = cost.step_ms;
    out.copying = cost.copying;
    if (next > 1) layers_.insert(layers_.end(), after->layers.begin(), after->layers.end());
    if (!input_.with_load) return {};
    out.placed = target;
    const auto layers = after->loads.size() / input_.ranks;
    for (std::size_t l = 0; l < layers; ++l) {
      const auto row = after->loads.begin() + static_cast<std::ptrdiff_t>(l * input_.ranks);
      auto& relative = out.load.emplace_back(row, row + input_.ranks);
      const double share = std::accumulate(relative.begin(), relative.end(), 0.0) / input_.ranks;
      for (auto& cell : relative) cell = share > 0 ? cell / share : 1;
    }
    return {};
  }

  void summarise(run& out) const {
    auto& s = out.summary;
    const auto counted = out.rebalances.size() - 1;
    const auto average = [&](auto field) {
      double sum = 0;
      for (std::size_t i = 1; i < out.rebalances.size(); ++i) sum += field(out.rebalances[i]);
      return sum / static_cast<double>(counted);
    };
    for (std::size_t i = 1; i < out.rebalances.size(); ++i) {
      const auto& one = out.rebalances[i];
      s.rebalances += one.pays ? 1 : 0;
      s.skipped += one.pays ? 0 : 1;
      s.moves += one.moves;
      s.across_nodes += one.across_nodes;
    }
    s.par_planned = average([](const auto& r) { return r.par_planned; });
    s.par_record = average([](const auto& r) { return r.par_record; });
    s.par_static = average([](const auto& r) { return r.par_static; });
    const auto next = spread_of(layers_);
    s.par_next = next.mean;
    s.par_next_p95 = next.p95;
    s.par_next_max = next.max;
    const double slots = static_cast<double>(input_.recording.meta.layers) * on_.slots_per_rank * input_.ranks;
    s.moved = static_cast<double>(s.moves) / static_cast<double>(counted) / slots;
    s.step_ms = average([](const auto& r) { return r.step_ms; });
    s.step_ms_static = average([&](const auto& r) { return input_.cost.step_ms_at(r.par_static); });
    s.gain = 1 - s.step_ms / s.step_ms_static;
    s.cost = average([](const auto& r) { return r.copying; });
    s.plan_ms = plan_ms_ / static_cast<double>(out.rebalances.size());
  }

  const replay_input& input_;
  const setting& with_;
  topology on_;
  const std::vector<policies::load_record>& records_;
  policies::placement_problem problem_;
  placement even_;
  std::vector<double> layers_;  // imbalance of every layer in every counted interval
  double plan_ms_ = 0;
  bool was_paying_ = false;
};

}  // namespace

result<run> replay(const replay_input& input, const setting& with) {
  auto on = topology_of({input.ranks, input.nodes, with.redundant, {}}, input.recording.meta.experts);
  if (!on) return fail(on.error());
  return replayer(input, with, std::move(*on)).all();
}

result<std::vector<run>> replay_all(const replay_input& input, const std::vector<setting>& settings,
                                    std::uint32_t threads, const std::function<void(std::uint64_t done)>& progress) {
  std::vector<result<run>> made(settings.size());
  std::atomic<std::size_t> next{0}, done{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (auto i = next++; i < settings.size() && !failed; i = next++) {
      made[i] = replay(input, settings[i]);
      if (!made[i]) failed = true;
      progress(++done);
    }
  };
  std::vector<std::thread> others;
  for (std::uint32_t t = 1; t < threads && t < settings.size(); ++t) others.emplace_back(work);
  work();
  for (auto& thread : others) thread.join();
  std::vector<run> out;
  for (auto& one : made) {
    if (!one) return fail(one.error());
    out.push_back(std::move(*one));
  }
  return out;
}

}  // namespace ballast::offline
