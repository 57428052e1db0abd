#include "policies/waves.hpp"

#include <algorithm>
#include <numeric>

#include "policies/placement_check.hpp"
#include "policies/wave_state.hpp"

namespace ballast::policies {

namespace {

constexpr std::size_t failures_max = 24;  // chains that may fail on a seat in one wave before the next seat's turn

std::vector<seat_info> sorted_by_id(std::vector<seat_info> seats) {
  std::sort(seats.begin(), seats.end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
  return seats;
}

status check_input(const placement& base, const placement& target, const std::vector<seat_info>& seats) {
  for (std::size_t s = 1; s < seats.size(); ++s) {
    if (seats[s].seat == seats[s - 1].seat) {
      return fail(errc::invalid_argument, "waves: seat " + std::to_string(index_of(seats[s].seat)) + " is given twice");
    }
  }
  const auto layers = static_cast<std::uint32_t>(target.layers.size());
  const auto experts = layers == 0 ? 0 : static_cast<std::uint32_t>(target.layers[0].size());
  const auto named = [](const status& checked, const char* which) -> status {
    if (checked) return {};
    return fail(errc::invalid_argument, std::string("waves: ") + which + ": " + checked.error().text);
  };
  if (base.model != target.model) return fail(errc::invalid_argument, "waves: base and target are of different models");
  if (auto ok = named(check_placement(target, layers, experts, seats, true, true), "target"); !ok) return ok;
  return named(check_placement(base, layers, experts, seats, false, false), "base");
}

}  // namespace

struct wave_schedule::impl {
  placement target;
  std::vector<seat_info> seats;  // by id
  placement now;                 // the table in use; shares as they will be published next
  wave_state state;
  bool shares_changed = false;
  std::uint64_t copies = 0, node_crossings = 0;

  impl(const placement& base, const placement& to, std::vector<seat_info> on, const wave_limits& limits)
      : target(to), seats(std::move(on)), now(base), state(base, to, seats, limits.adds_per_seat) {
    for (std::uint32_t key = 0; key < state.key_count(); ++key) {
      auto& expert = now.layers[state.layer_of(key)][state.expert_of(key)];
      const auto before = expert;
      rewrite(key);
      shares_changed = shares_changed || before != expert;
    }
  }

  void choose_adds();
  bool choose_single();
  std::vector<transfer> take_adds();
  std::vector<drop> take_drops();
  void rewrite(std::uint32_t key);
  result<std::optional<wave>> next();
  tl::unexpected<error> stuck() const;
};

// An expert's row in `now`, from what is held.
void wave_schedule::impl::rewrite(std::uint32_t key) {
  const auto& goal = target.layers[state.layer_of(key)][state.expert_of(key)];
  const auto& held = state.held(key);
  auto& row = now.layers[state.layer_of(key)][state.expert_of(key)];
  row.clear();
  for (const auto& c : held) row.push_back({seats[c.seat].seat, c.slot, 1.0 / static_cast<double>(held.size())});
  const bool arrived = std::equal(row.begin(), row.end(), goal.begin(), goal.end(),
                                  [](const auto& a, const auto& b) { return a.seat == b.seat; });
  for (std::size_t i = 0; arrived && i < row.size(); ++i) row[i].share = goal[i].share;
}

void wave_schedule::impl::choose_adds() {
  const auto try_all_of = [&](std::uint32_t key) {
    for (const auto id : state.pending_of(key)) state.try_chain(id);
  };
  std::vector<std::uint32_t> order(seats.size());
  std::iota(order.begin(), order.end(), 0U);
  for (const auto s : order) {
    if (!state.full(s)) continue;
    for (const auto key : state.waiting_on(s)) try_all_of(key);
  }
  for (const auto s : order) {  // experts that nobody holds any more
    for (const auto id : state.pending_on(s)) {
      if (state.held(state.add(id).key).empty()) state.try_chain(id);
    }
  }
  // The seat with most to come sets the number of waves.
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return state.pending_on(a).size() > state.pending_on(b).size(); });
  for (const auto s : order) {
    std::size_t failures = 0;
    for (const auto id : state.pending_on(s)) {
      if (failures >= failures_max) break;
      if (!state.add(id).chosen && !state.try_chain(id)) ++failures;
    }
  }
}

// No set of chains closes: one add by itself, letting a copy go from a full seat if there is one. Only that chain's end
// is full then, and its next link follows in the next wave.
bool wave_schedule::impl::choose_single() {
  for (std::uint32_t s = 0; s < seats.size(); ++s) {
    if (!state.full(s)) continue;
    for (const auto key : state.waiting_on(s)) {
      for (const auto id : state.pending_of(key)) {
        if (state.try_single(id)) return true;
      }
    }
  }
  for (std::uint32_t s = 0; s < seats.size(); ++s) {
    for (const auto id : state.pending_on(s)) {
      if (state.try_single(id)) return true;
    }
  }
  return false;
}

// The chosen adds with slots and sources: same node first, then whoever sends least in this wave.
std::vector<transfer> wave_schedule::impl::take_adds() {
  auto order = state.chosen();
  std::sort(order.begin(), order.end(), [&](auto a, auto b) {  // those with little choice first
    const auto sources_a = state.held(state.add(a).key).size(), sources_b = state.held(state.add(b).key).size();
    return sources_a != sources_b ? sources_a < sources_b : a < b;
  });
  std::vector<std::uint32_t> sends(seats.size());
  std::vector<transfer> adds;
  for (const auto id : order) {
    const auto& a = state.add(id);
    std::vector<std::uint32_t> from;
    for (const auto& c : state.held(a.key)) from.push_back(c.seat);
    const auto far = [&](std::uint32_t s) { return seats[s].node != seats[a.seat].node; };
    std::sort(from.begin(), from.end(),
              [&](auto x, auto y) { return std::tuple(far(x), sends[x], x) < std::tuple(far(y), sends[y], y); });
    transfer t{state.layer_of(a.key), state.expert_of(a.key), seats[a.seat].seat, state.take_slot(id), {}};
    for (const auto s : from) t.sources.push_back(seats[s].seat);
    if (!from.empty()) {
      ++sends[from[0]];
      node_crossings += far(from[0]);
    }
    ++copies;
    adds.push_back(std::move(t));
  }
  std::sort(adds.begin(), adds.end(), [](const auto& x, const auto& y) {
    return std::tie(x.layer, x.expert, x.seat) < std::tie(y.layer, y.expert, y.seat);
  });
  return adds;
}

std::vector<drop> wave_schedule::impl::take_drops() {
  auto gone = state.take_free_drops();
  for (const auto id : state.chosen()) {
    const auto key = state.add(id).key;
    for (const auto& c : state.held(key)) {
      if (!state.wanted(key, c.seat)) gone.emplace_back(key, c.seat);
    }
  }
  std::sort(gone.begin(), gone.end());
  gone.erase(std::unique(gone.begin(), gone.end()), gone.end());
  std::vector<drop> drops;
  for (const auto& [key, s] : gone) {
    const auto& held = state.held(key);
    const auto copy = std::find_if(held.begin(), held.end(), [seat = s](const auto& c) { return c.seat == seat; });
    drops.push_back({state.layer_of(key), seats[s].seat, copy->slot});
    state.drop_copy(key, s);
    rewrite(key);
  }
  return drops;
}

tl::unexpected<error> wave_schedule::impl::stuck() const {
  for (std::uint32_t s = 0; s < seats.size(); ++s) {
    if (state.pending_on(s).empty()) continue;
    return fail(errc::does_not_fit, "waves: " + std::to_string(state.pending()) + " copies cannot be brought; seat " +
                                        std::to_string(index_of(seats[s].seat)) + " awaits " +
                                        std::to_string(state.pending_on(s).size()) + " and has no free page (" +
                                        std::to_string(seats[s].capacity.spare_pages) +
                                        " spare); give every seat a spare page");
  }
  return fail(errc::does_not_fit, "waves: copies cannot be brought");
}

result<std::optional<wave>> wave_schedule::impl::next() {
  state.begin_wave();
  choose_adds();
  wave out;
  auto chosen = state.chosen();
  if (chosen.empty() && state.pending() > 0) {
    // Copies that may simply go make room first; only then is a seat filled to the brim.
    if (!state.has_free_drops() && !choose_single()) return stuck();
    chosen = state.chosen();
  }
  if (chosen.empty() && !state.has_free_drops() && !shares_changed) return std::optional<wave>{};
  out.adds = take_adds();
  out.drops = take_drops();
  for (const auto& t : out.adds) {
    const auto key = t.layer * static_cast<std::uint32_t>(target.layers[0].size()) + t.expert;
    const auto at =
        std::lower_bound(seats.begin(), seats.end(), t.seat, [](const auto& s, seat_id id) { return s.seat < id; });
    state.put_copy(key, {static_cast<std::uint32_t>(at - seats.begin()), t.slot});
    rewrite(key);
  }
  state.end_wave();
  shares_changed = false;
  ++now.version;
  out.after = now;
  return std::optional<wave>(std::move(out));
}

wave_schedule::wave_schedule(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
wave_schedule::wave_schedule(wave_schedule&&) noexcept = default;
wave_schedule& wave_schedule::operator=(wave_schedule&&) noexcept = default;
wave_schedule::~wave_schedule() = default;

result<wave_schedule> wave_schedule::begin(const placement& base, const placement& target,
                                           const std::vector<seat_info>& seats, const wave_limits& limits) {
  auto sorted = sorted_by_id(seats);
  if (auto ok = check_input(base, target, sorted); !ok) return fail(ok.error());
  return wave_schedule(std::make_unique<impl>(base, target, std::move(sorted), limits));
}

result<std::optional<wave>> wave_schedule::next() { return impl_->next(); }
std::uint64_t wave_schedule::copies() const noexcept { return impl_->copies; }
std::uint64_t wave_schedule::node_crossings() const noexcept { return impl_->node_crossings; }

result<wave_plan> plan_waves(const placement& base, const placement& target, const std::vector<seat_info>& seats,
                             const wave_limits& limits) {
  auto schedule = wave_schedule::begin(base, target, seats, limits);
  if (!schedule) return fail(schedule.error());
  wave_plan plan;
  while (true) {
    auto step = schedule->next();
    if (!step) return fail(step.error());
    if (!*step) break;
    plan.waves.push_back(std::move(**step));
  }
  plan.copies = schedule->copies();
  plan.node_crossings = schedule->node_crossings();
  return plan;
}

}  // namespace ballast::policies
