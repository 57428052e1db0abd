#include "policies/incremental.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

namespace ballast::policies {

namespace {

constexpr std::uint32_t none = ~0U;
constexpr double least_gain = 5e-4;  // of the average: changes that gain less in the end are not worth a copy

// How much the other holders of an expert gain when one of its n copies goes.
double spill(const layer_state& layer, std::uint32_t expert) { return layer.each(expert) / (layer.copies(expert) - 1); }

// The seat with room where a load of the given size ends soonest and that lacks the expert.
std::uint32_t soonest(const layer_state& layer, std::uint32_t expert, double load) {
  std::uint32_t best = none;
  double best_time = 0;
  for (std::uint32_t s = 0; s < layer.seats().size(); ++s) {
    if (!layer.room(s) || layer.holds(s, expert)) continue;
    const double time = (layer.load(s) + load) / layer.seats().speed[s];
    if (best == none || time < best_time || (time == best_time && layer.on(s).size() < layer.on(best).size())) {
      best = s;
      best_time = time;
    }
  }
  return best;
}

struct copy_at {
  std::uint32_t expert = none, seat = none;
};

// The redundant copy that is missed least, on one seat or on any.
copy_at least_missed(const layer_state& layer, std::uint32_t only_seat = none) {
  copy_at best;
  double best_cost = 0;
  for (std::uint32_t e = 0; e < layer.experts(); ++e) {
    if (layer.copies(e) < 2 || (only_seat != none && !layer.holds(only_seat, e))) continue;
    const double cost = spill(layer, e);
    if (best.expert != none && cost >= best_cost) continue;
    best_cost = cost;
    best.expert = e;
    best.seat = only_seat;
    if (only_seat != none) continue;
    const auto& seats = layer.holders(e);
    best.seat =
        *std::max_element(seats.begin(), seats.end(), [&](auto a, auto b) { return layer.time(a) < layer.time(b); });
  }
  return best;
}

void place_missing(layer_state& layer) {
  std::vector<std::uint32_t> missing;
  for (std::uint32_t e = 0; e < layer.experts(); ++e) {
    if (layer.copies(e) == 0) missing.push_back(e);
  }
  std::stable_sort(missing.begin(), missing.end(), [&](auto a, auto b) { return layer.weight(a) > layer.weight(b); });
  for (const auto e : missing) {
    auto seat = soonest(layer, e, layer.weight(e));
    if (seat == none) {  // all full: experts fit, so somebody holds a redundant copy
      const auto victim = least_missed(layer);
      layer.remove(victim.expert, victim.seat);
      seat = victim.seat;
    }
    layer.add(e, seat);
  }
}

}  // namespace

void make_legal(layer_state& layer, std::size_t replicas_max) {
  for (std::uint32_t s = 0; s < layer.seats().size(); ++s) {
    while (layer.on(s).size() > layer.seats().room[s]) {
      auto expert = least_missed(layer, s).expert;
      if (expert == none) {
        expert = *std::min_element(layer.on(s).begin(), layer.on(s).end(),
                                   [&](auto a, auto b) { return layer.weight(a) < layer.weight(b); });
      }
      layer.remove(expert, s);
    }
  }
  place_missing(layer);
  while (layer.replicas() > replicas_max) {
    const auto victim = least_missed(layer);
    layer.remove(victim.expert, victim.seat);
  }
}

namespace {

std::vector<std::uint32_t> copies_by_weight(const layer_state& layer, std::size_t replicas) {
  std::vector<std::uint32_t> copies(layer.experts(), 1);
  for (std::size_t count = layer.experts(); count < replicas; ++count) {
    std::uint32_t best = none;
    for (std::uint32_t e = 0; e < layer.experts(); ++e) {
      if (copies[e] >= layer.seats().size()) continue;
      if (best == none || layer.weight(e) / copies[e] > layer.weight(best) / copies[best]) best = e;
    }
    if (best == none) break;
    ++copies[best];
  }
  return copies;
}

// Copies that found only seats which hold the expert already go to the hottest experts that still fit somewhere.
void top_up(layer_state& layer, std::size_t replicas) {
  while (layer.replicas() < replicas) {
    copy_at best;
    for (std::uint32_t e = 0; e < layer.experts(); ++e) {
      if (best.expert != none && layer.each(e) <= layer.each(best.expert)) continue;
      const auto seat = soonest(layer, e, layer.weight(e) / (layer.copies(e) + 1));
      if (seat != none) best = {e, seat};
    }
    if (best.expert == none) return;
    layer.add(best.expert, best.seat);
  }
}

}  // namespace

void pack_fresh(layer_state& layer, std::size_t replicas_max) {
  const auto copies = copies_by_weight(layer, replicas_max);
  std::vector<std::uint32_t> order(layer.experts());
  std::iota(order.begin(), order.end(), 0U);
  const auto each = [&](std::uint32_t e) { return layer.weight(e) / copies[e]; };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return each(a) > each(b); });
  std::vector<double> booked(layer.seats().size());  // load once all copies are placed
  const auto place_copy = [&](std::uint32_t e) {
    std::uint32_t best = none;
    double best_time = 0;
    for (std::uint32_t s = 0; s < layer.seats().size(); ++s) {
      if (!layer.room(s) || layer.holds(s, e)) continue;
      const double time = (booked[s] + each(e)) / layer.seats().speed[s];
      if (best == none || time < best_time || (time == best_time && layer.on(s).size() < layer.on(best).size())) {
        best = s;
        best_time = time;
      }
    }
    if (best == none) return;
    layer.add(e, best);
    booked[best] += each(e);
  };
  // First copies before any second one, so that a redundant copy never takes an expert's last place.
  for (const auto e : order) place_copy(e);
  for (const auto e : order) {
    for (std::uint32_t c = 1; c < copies[e]; ++c) place_copy(e);
  }
  top_up(layer, replicas_max);
}

namespace {

struct change {
  enum kind_t : std::uint8_t { drop, move, add, exchange, replace, swap } kind = drop;
  std::uint32_t expert = 0, from = 0, to = 0, other = 0;
  double score = 0;
};

// Looks for the best change at the slowest seat.
class change_finder {
 public:
  change_finder(const layer_state& layer, const search_limits& limits)
      : layer_(layer),
        limits_(limits),
        seats_(layer.seats()),
        goal_(layer.ideal() * limits.target),
        delta_(seats_.size()) {}

  std::optional<change> best_at(std::uint32_t from) {
    from_ = from;
    peak_ = layer_.time(from) * (1 - 1e-9);
    best_ = {};
    colder_.clear();
    for (std::uint32_t q = 0; q < seats_.size(); ++q) {
      if (q != from && layer_.time(q) < peak_) colder_.push_back(q);
    }
    std::stable_sort(colder_.begin(), colder_.end(), [&](auto a, auto b) { return layer_.time(a) < layer_.time(b); });
    for (const auto e : layer_.on(from)) {
      if (limits_.may_shrink && layer_.weight(e) > 0 && layer_.copies(e) > 1)
        try_many({change::drop, e, from, none, none, 0});
    }
    for (const auto q : colder_) {
      if (!can_beat(q, 1)) continue;
      for (const auto e : layer_.on(from)) {
        if (layer_.weight(e) > 0 && !layer_.holds(q, e)) try_one_copy(e, q);
      }
    }
    for (const auto q : colder_) {
      if (!can_beat(q, limits_.copies_cost ? 2 : 1)) continue;
      for (const auto e : layer_.on(from)) {
        if (layer_.weight(e) > 0 && !layer_.holds(q, e)) try_swaps(e, q);
      }
    }
    if (best_.score <= 0) return std::nullopt;
    return best_;
  }

 private:
  // Whether a change of that cost could do better even if it took all that is beyond the goal on both seats.
  bool can_beat(std::uint32_t q, double least_cost) const {
    return beyond(layer_.time(from_)) + beyond(layer_.time(q)) > best_.score * least_cost;
  }

  void try_one_copy(std::uint32_t e, std::uint32_t q) {
    if (layer_.room(q)) {
      try_pair({change::move, e, from_, q, none, 0}, layer_.each(e));
      if (layer_.replicas() < limits_.replicas_max) try_many({change::add, e, from_, q, none, 0});
    }
    for (const auto f : layer_.on(q)) {
      if (layer_.copies(f) > 1) try_in_place_of(e, q, f);
    }
  }

  void try_swaps(std::uint32_t e, std::uint32_t q) {
    const double most = peak_ * seats_.speed[q] - layer_.load(q);  // what q may gain
    for (const auto f : layer_.on(q)) {
      const double amount = layer_.each(e) - layer_.each(f);
      if (amount > 0 && amount < most && !layer_.holds(from_, f)) try_pair({change::swap, e, from_, q, f, 0}, amount);
    }
  }

  // A copy of e, a further one or the one here, in place of a redundant f on q. Judged by the two seats first: few
  // pass.
  void try_in_place_of(std::uint32_t e, std::uint32_t q, std::uint32_t f) {
    const auto copies = static_cast<double>(layer_.copies(e));
    const double now = layer_.each(e), then = layer_.weight(e) / (copies + 1), gone = layer_.each(f);
    if (promising({change::exchange, e, from_, q, f, 0}, now - then, then - gone))
      try_many({change::exchange, e, from_, q, f, 0});
    if (!limits_.may_shrink) return;
    if (promising({change::replace, e, from_, q, f, 0}, now, now - gone))
      try_many({change::replace, e, from_, q, f, 0});
  }
  bool promising(const change& c, double less_here, double more_there) const {
    const double there = (layer_.load(c.to) + more_there) / seats_.speed[c.to];
    if (there >= peak_) return false;
    const double here = (layer_.load(c.from) - less_here) / seats_.speed[c.from];
    const double gain = beyond(layer_.time(c.from)) - beyond(here) + beyond(layer_.time(c.to)) - beyond(there);
    return gain > best_.score * cost(c);
  }

  double beyond(double time) const {
    const double over = time - goal_;
    return over > 0 ? over * over : 0;
  }
  double cost(const change& c) const {
    if (!limits_.copies_cost) return 1;
    if (c.kind == change::drop) return 0.05;
    const double far = seats_.node[c.from] == seats_.node[c.to] ? 1.0 : 1.1;
    return c.kind == change::swap ? 2 * far : far;
  }
  void consider(change c, double gain) {
    c.score = gain / cost(c);
    if (gain > 0 && c.score > best_.score) best_ = c;
  }

  // Only the two seats change: `amount` of load goes over.
  void try_pair(const change& c, double amount) {
    const double there = (layer_.load(c.to) + amount) / seats_.speed[c.to];
    if (there >= peak_) return;
    const double here = (layer_.load(c.from) - amount) / seats_.speed[c.from];
    consider(c, beyond(layer_.time(c.from)) - beyond(here) + beyond(layer_.time(c.to)) - beyond(there));
  }

  void shift(std::uint32_t seat, double amount) {
    if (delta_[seat] == 0) touched_.push_back(seat);
    delta_[seat] += amount;
  }
  void shift_expert(std::uint32_t expert, std::uint32_t loses, std::uint32_t gains) {
    const auto copies = static_cast<double>(layer_.copies(expert));
    const double now = layer_.each(expert);
    const double then = layer_.weight(expert) / (copies - (loses != none) + (gains != none));
    for (const auto s : layer_.holders(expert)) shift(s, s == loses ? -now : then - now);
    if (gains != none) shift(gains, then);
  }
  // Copy counts change, so every holder's load does.
  void try_many(const change& c) {
    touched_.clear();
    const bool leaves = c.kind == change::drop || c.kind == change::replace;
    shift_expert(c.expert, leaves ? c.from : none, c.to);
    if (c.other != none) shift_expert(c.other, c.to, none);
    double gain = 0;
    bool good = true;
    for (const auto s : touched_) {
      const double time = (layer_.load(s) + delta_[s]) / seats_.speed[s];
      good = good && (delta_[s] == 0 || time < peak_);
      gain += beyond(layer_.time(s)) - beyond(time);
      delta_[s] = 0;
    }
    if (good) consider(c, gain);
  }

  const layer_state& layer_;
  const search_limits& limits_;
  const seat_table& seats_;
  double goal_, peak_ = 0;
  std::uint32_t from_ = 0;
  change best_;
  std::vector<double> delta_;
  std::vector<std::uint32_t> touched_, colder_;
};

void apply(layer_state& layer, const change& c, bool back) {
  const auto put = [&](std::uint32_t e, std::uint32_t s, bool in) {
    in != back ? layer.add(e, s) : layer.remove(e, s);
  };
  const bool leaves =
      c.kind == change::drop || c.kind == change::replace || c.kind == change::move || c.kind == change::swap;
  if (leaves) put(c.expert, c.from, false);
  if (c.kind == change::exchange || c.kind == change::replace || c.kind == change::swap) put(c.other, c.to, false);
  if (c.kind != change::drop) put(c.expert, c.to, true);
  if (c.kind == change::swap) put(c.other, c.from, true);
}

}  // namespace

void improve(layer_state& layer, const search_limits& limits) {
  const double ideal = layer.ideal();
  if (ideal <= 0) return;
  const double goal = ideal * limits.target;
  change_finder finder(layer, limits);
  std::vector<change> done;
  std::size_t worth = 0;  // how many of the changes are to stay
  double worth_peak = layer.time(layer.slowest());
  while (done.size() < limits.changes_max) {
    const auto slowest = layer.slowest();
    if (layer.time(slowest) <= goal) break;
    const auto found = finder.best_at(slowest);
    if (!found) break;
    apply(layer, *found, false);
    done.push_back(*found);
    const double peak = layer.time(layer.slowest());
    if (peak <= goal || peak < worth_peak - least_gain * ideal) {
      worth = done.size();
      worth_peak = peak;
    }
  }
  while (limits.copies_cost && done.size() > worth) {
    apply(layer, done.back(), true);
    done.pop_back();
  }
}

}  // namespace ballast::policies
