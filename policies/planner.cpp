#include "policies/planner.hpp"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <map>
#include <memory>
#include <thread>

#include "policies/dense_pack.hpp"
#include "policies/dense_restarts.hpp"
#include "policies/dense_search.hpp"
#include "policies/plan_homes.hpp"
#include "policies/plan_loads.hpp"
#include "policies/share_pack.hpp"
#include "policies/share_search.hpp"

namespace ballast::policies {

namespace {

constexpr std::uint32_t block_layers = 8;  // planned independently; what they write raises prices in the next block

tl::unexpected<error> bad_plan(const std::string& text) { return fail(errc::invalid_argument, "plan: " + text); }

}  // namespace

std::uint32_t plan_shape::slots() const {
  std::uint32_t sum = 0;
  for (const auto& r : ranks) sum += r.slots;
  return sum;
}

load_rows load_rows::flat(const double* loads, std::uint32_t layers, std::uint32_t experts) {
  load_rows out;
  for (std::size_t layer = 0; layer < layers; ++layer) out.rows.push_back(loads + layer * experts);
  return out;
}

struct planner::impl {
  plan_shape shape;
  plan_options options;
  rank_table ranks;
  home_table homes;
  std::uint32_t slots = 0, replicas = 0;
  std::vector<std::string> notes;

  struct worker {  // what one thread works with
    dense_layer layer;
    search_space search;
    pack_space pack;
    shared_space shared;
    std::vector<std::int32_t> slots;
    std::vector<float> weights;
  };
  std::vector<std::unique_ptr<worker>> workers;
  std::uint32_t snapshots = 0;  // that the workers are made for

  void make_workers(std::uint32_t count, std::uint32_t snapshot_count) {
    if (snapshots != snapshot_count) workers.clear();
    snapshots = snapshot_count;
    while (workers.size() < count) {
      workers.push_back(
          std::make_unique<worker>(worker{dense_layer(ranks, shape.experts, snapshots), {}, {}, {}, {}, {}}));
    }
  }

  // Copies of `current` that can stay: known experts, once a rank.
  void adopt(const std::int32_t* current, std::vector<std::int32_t>& into) const {
    into.assign(current, current + slots);
    std::size_t begin = 0;
    for (const auto room : ranks.room) {
      const auto first = into.begin() + static_cast<std::ptrdiff_t>(begin);
      for (auto at = first; at != first + room; ++at) {
        if (*at >= static_cast<std::int32_t>(shape.experts) || std::find(first, at, *at) != at) *at = -1;
      }
      begin += room;
    }
  }

  std::uint32_t plan_layer(std::uint32_t number, worker& w, const snapshot_recipe& recipe, const std::int32_t* current,
                           const search_limits& limits, std::int32_t* out, std::uint8_t& mended) const {
    recipe.fill(number, limits.power, w.layer);
    if (current != nullptr) adopt(current, w.slots);
    const bool keep = current != nullptr && options.start != plan_options::start_t::nothing;
    if (homes.active())
      w.layer.home = homes.of_layer(w.layer.weight.data(), w.layer.row, keep ? w.slots.data() : nullptr);
    if (!keep) pack_anew(w, recipe.count());
    w.layer.start(w.slots.data());
    mended = make_legal(w.layer, replicas) ? 1 : 0;
    if (options.start == plan_options::start_t::keep) {
      w.layer.read(out);
      return 0;
    }
    if (options.solved_shares) return plan_shared(w, limits, keep ? recipe.first_root(limits.power) : 0, out);
    refresh_loads(w.layer, limits.power);
    if (current != nullptr && options.start == plan_options::start_t::current &&
        peak_of_first(w.layer) <= options.target_imbalance * recipe.first_root(limits.power)) {
      w.layer.read(out);
      return 0;
    }
    const auto changes = improve(w.layer, limits, w.search);
    if (const auto times = restarts_for(slots); !keep && times > 0) {
      const auto more = search_again(w.layer, limits, w.search, times, w.slots);
      std::copy(w.slots.begin(), w.slots.end(), out);
      return changes + more;
    }
    w.layer.expert_at = w.search.best_experts;
    w.layer.read(out);
    return changes;
  }

  std::uint32_t plan_shared(worker& w, const search_limits& limits, double unit, std::int32_t* out) const {
    const auto changes = improve_shared(w.layer, limits, static_cast<float>(options.target_imbalance * unit), w.shared);
    w.layer.expert_at = w.shared.best_experts;
    w.layer.read(out);
    return changes;
  }

  void pack_anew(worker& w, std::uint32_t snapshot_count) const {
    w.slots.resize(slots);
    if (options.start == plan_options::start_t::keep) {
      pack_in_order(shape.experts, replicas, ranks, w.slots.data());
      return;
    }
    w.weights.assign(shape.experts, 0);
    for (std::uint32_t e = 0; e < shape.experts; ++e) {
      for (std::uint32_t s = 0; s < snapshot_count; ++s) w.weights[e] += w.layer.weight[e * w.layer.row + s];
    }
    // With many redundant copies a rank, all hang together anyway.
    if (options.solved_shares && !homes.active() && replicas - shape.experts < 2 * ranks.size()) {
      pack_joined(w.weights.data(), shape.experts, replicas, ranks, w.slots.data());
      return;
    }
    pack(w.weights.data(), shape.experts, replicas, ranks, homes.active() ? w.layer.home.data() : nullptr, w.pack,
         w.slots.data());
  }

  search_limits limits_for(bool from_nothing, double drift) const {
    search_limits limits;
    double price = from_nothing ? 0 : options.write_price;
    if (drift > 0) price = std::min(price, options.price_per_drift * drift);
    limits.write_price.assign(ranks.size(), static_cast<float>(price * ranks.size() / slots));
    limits.changes_max = std::min(options.changes_max, 16 * slots);
    limits.idle_scans_max = from_nothing ? ~0U : options.idle_ranks_max;
    limits.replicas_max = replicas;
    // A plan for one load is as good as it can be told; for several, little is lost with the last small steps.
    limits.gain_min = snapshots == 1 ? 1e-6F : static_cast<float>(options.gain_min);
    if (snapshots == 1) limits.peak_enough = static_cast<float>(options.target_imbalance);
    limits.power = options.power;
    return limits;
  }

  // Ranks that got more than their part of the writes so far pay more for the next.
  void raise_prices(search_limits& limits, const search_limits& base, const std::vector<std::uint32_t>& writes) const {
    double mean = 0;
    for (const auto n : writes) mean += n;
    mean /= static_cast<double>(writes.size());
    for (std::size_t r = 0; r < writes.size(); ++r) {
      const double over = mean > 1 ? writes[r] / mean - 1.25 : 0;
      limits.write_price[r] = base.write_price[r] * static_cast<float>(over > 0 ? 1 + 4 * over : 1);
    }
  }

  void count_writes(const std::int32_t* before, const std::int32_t* after, std::vector<std::uint32_t>& writes) const {
    for (std::uint32_t r = 0; r < ranks.size(); ++r) {
      const auto room = ranks.room[r];
      for (std::uint32_t k = 0; k < room; ++k) {
        if (after[k] >= 0 && (before == nullptr || std::find(before, before + room, after[k]) == before + room))
          ++writes[r];
      }
      before = before == nullptr ? nullptr : before + room;
      after += room;
    }
  }

  plan_summary plan(const recent_loads& loads, const std::int32_t* current, std::int32_t* out) {
    const snapshot_recipe recipe(loads, options.snapshots, shape.experts);
    const auto threads = std::clamp(options.threads, 1U, std::min(block_layers, shape.layers));
    make_workers(threads, recipe.count());
    plan_summary summary;
    summary.notes = notes;
    summary.mended.resize(shape.layers);
    summary.drift = observed_drift(loads, shape.layers, shape.experts, ranks.size());
    const bool from_nothing = current == nullptr || options.start == plan_options::start_t::nothing;
    const auto base = limits_for(from_nothing, summary.drift);
    auto limits = base;
    std::vector<std::uint32_t> writes(ranks.size());
    std::vector<std::uint32_t> changes(shape.layers);
    std::uint32_t begin = 0, end = std::min(block_layers, shape.layers);
    std::atomic<std::uint32_t> next = 0;
    const auto at = [&](std::uint32_t layer) { return std::size_t{layer} * slots; };
    const auto finish_block = [&]() noexcept {
      for (auto layer = begin; layer < end; ++layer)
        count_writes(current == nullptr ? nullptr : current + at(layer), out + at(layer), writes);
      raise_prices(limits, base, writes);
      begin = end;
      end = std::min(end + block_layers, shape.layers);
      next = begin;
    };
    std::barrier block_done(threads, finish_block);
    const auto work = [&](std::uint32_t number) {
      while (begin < shape.layers) {
        for (std::uint32_t layer; (layer = next++) < end;)
          changes[layer] =
              plan_layer(layer, *workers[number], recipe, current == nullptr ? nullptr : current + at(layer), limits,
                         out + at(layer), summary.mended[layer]);
        block_done.arrive_and_wait();
      }
    };
    std::vector<std::thread> others;
    for (std::uint32_t t = 1; t < threads; ++t) others.emplace_back(work, t);
    work(0);
    for (auto& t : others) t.join();
    for (const auto n : writes) summary.writes += n;
    for (const auto n : changes) summary.changes += n;
    return summary;
  }
};

plan_options for_solved_shares(plan_options options) {
  options.solved_shares = true;
  options.snapshots.part = options.snapshots.change = 0;  // joined ranks even out what comes; older loads mislead
  options.gain_min = std::max(options.gain_min, 1e-5);
  return options;
}

planner::planner(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
planner::planner(planner&&) noexcept = default;
planner& planner::operator=(planner&&) noexcept = default;
planner::~planner() = default;

result<planner> planner::make(const plan_shape& shape, const plan_options& options) {
  auto state = std::make_unique<impl>();
  if (shape.layers == 0 || shape.experts == 0) return bad_plan("no layers or no experts");
  if (shape.ranks.empty()) return bad_plan("no ranks to place on");
  if (options.power != 8 && options.power != 16) return bad_plan("power is neither 8 nor 16");
  if (!(options.write_price >= 0)) return bad_plan("write_price is below 0");
  std::map<std::uint32_t, std::uint32_t> nodes;
  for (const auto& r : shape.ranks) nodes.emplace(r.node, 0);
  state->ranks.nodes = 0;
  for (auto& [node, number] : nodes) number = state->ranks.nodes++;
  double speed_sum = 0;
  for (const auto& r : shape.ranks) speed_sum += r.speed;
  std::uint64_t usable = 0;
  for (std::size_t r = 0; r < shape.ranks.size(); ++r) {
    const auto& rank = shape.ranks[r];
    if (!std::isfinite(rank.speed) || rank.speed <= 0)
      return bad_plan("speed of rank " + std::to_string(r) + " is not a number > 0");
    state->ranks.room.push_back(rank.slots);
    state->ranks.node.push_back(nodes[rank.node]);
    state->ranks.speed.push_back(static_cast<float>(rank.speed / speed_sum * static_cast<double>(shape.ranks.size())));
    usable += std::min(rank.slots, shape.experts);
  }
  if (usable < shape.experts) {
    return fail(errc::does_not_fit, "plan: " + std::to_string(shape.experts) + " experts a layer, but " +
                                        std::to_string(shape.ranks.size()) + " ranks hold " + std::to_string(usable) +
                                        "; add ranks or slots");
  }
  state->shape = shape;
  state->options = options;
  state->slots = shape.slots();
  state->replicas =
      shape.experts + static_cast<std::uint32_t>(std::min<std::uint64_t>(shape.redundant, usable - shape.experts));
  state->homes = home_table(shape, state->ranks, options.home_copies, state->notes);
  return planner(std::move(state));
}

plan_summary planner::plan(const recent_loads& loads, const std::int32_t* current, std::int32_t* out) {
  return impl_->plan(loads, current, out);
}

}  // namespace ballast::policies
