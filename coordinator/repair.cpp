#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "coordinator/plans.hpp"

namespace ballast::cluster {
namespace {

// The table under repair, with the counts that say where there is room.
class patient {
 public:
  patient(const plan_task& task, placement left) : task_(task), table_(std::move(left)) {
    for (std::uint32_t l = 0; l < table_.layers.size(); ++l)
      for (const auto& replicas : table_.layers[l])
        for (const auto& r : replicas) take(l, r);
  }

  // Between waves a seat may hold more of a layer than it may keep: surplus replicas go, then the experts themselves.
  void trim(std::vector<std::pair<std::uint32_t, std::uint32_t>>& orphans) {
    for (const auto& s : task_.problem.seats)
      for (std::uint32_t l = 0; l < table_.layers.size(); ++l)
        while (count_[{s.seat, l}] > s.capacity.slots_per_layer) {
          if (drop_surplus(l, s.seat)) continue;
          orphans.emplace_back(l, drop_last(l, s.seat));
        }
  }

  status adopt(std::uint32_t l, std::uint32_t e, std::vector<policies::transfer>& staged) {
    const policies::seat_info* best = nullptr;
    for (const auto& s : task_.problem.seats)
      if (count_[{s.seat, l}] < s.capacity.slots_per_layer && (!best || count_[{s.seat, l}] < count_[{best->seat, l}]))
        best = &s;
    if (!best)
      for (const auto& s : task_.problem.seats)
        if (drop_surplus(l, s.seat)) {
          best = &s;
          break;
        }
    if (!best) return fail(errc::does_not_fit, too_small());
    const replica r{best->seat, free_slot(l, best->seat), 1.0};
    table_.layers[l][e].push_back(r);
    take(l, r);
    staged.push_back({l, e, r.seat, r.slot, {}});
    return {};
  }

  placement& table() { return table_; }

 private:
  using place_key = std::pair<seat_id, std::uint32_t>;

  void take(std::uint32_t l, const replica& r) {
    ++count_[{r.seat, l}];
    slots_[{r.seat, l}].insert(r.slot);
  }
  void remove(std::uint32_t l, std::uint32_t e, seat_id seat) {
    auto& replicas = table_.layers[l][e];
    const auto found = std::ranges::find(replicas, seat, &replica::seat);
    --count_[{seat, l}];
    slots_[{seat, l}].erase(found->slot);
    replicas.erase(found);
  }
  bool holds(std::uint32_t l, std::uint32_t e, seat_id seat) const {
    const auto& replicas = table_.layers[l][e];
    return std::ranges::find(replicas, seat, &replica::seat) != replicas.end();
  }
  // Drops the replica on `seat` of the layer's most replicated expert, if any has more than one.
  bool drop_surplus(std::uint32_t l, seat_id seat) {
    std::optional<std::uint32_t> most;
    for (std::uint32_t e = 0; e < table_.layers[l].size(); ++e)
      if (const auto n = table_.layers[l][e].size();
          n > 1 && holds(l, e, seat) && (!most || n > table_.layers[l][*most].size()))
        most = e;
    if (most) remove(l, *most, seat);
    return most.has_value();
  }
  std::uint32_t drop_last(std::uint32_t l, seat_id seat) {
    std::uint32_t e = static_cast<std::uint32_t>(table_.layers[l].size()) - 1;
    while (!holds(l, e, seat)) --e;
    remove(l, e, seat);
    return e;
  }
  std::uint32_t free_slot(std::uint32_t l, seat_id seat) {
    std::uint32_t slot = 0;
    while (slots_[{seat, l}].contains(slot)) ++slot;
    return slot;
  }
  std::string too_small() const {
    std::uint64_t room = 0;
    for (const auto& s : task_.problem.seats) room += s.capacity.slots_per_layer;
    return fmt::format("{} experts a layer of model {} need {} slots, the {} seats left hold {}; add seats",
                       task_.problem.experts, task_.problem.model, task_.problem.experts, task_.problem.seats.size(),
                       room);
  }

  const plan_task& task_;
  placement table_;
  std::map<place_key, std::uint32_t> count_;
  std::map<place_key, std::set<std::uint32_t>> slots_;
};

std::vector<policies::drop> no_longer_named(const placement& before, const placement& after) {
  std::vector<policies::drop> out;
  for (std::uint32_t l = 0; l < before.layers.size(); ++l)
    for (std::uint32_t e = 0; e < before.layers[l].size(); ++e)
      for (const auto& r : before.layers[l][e]) {
        const auto& kept = after.layers[l][e];
        const bool named =
            std::ranges::any_of(kept, [&](const replica& k) { return k.seat == r.seat && k.slot == r.slot; });
        if (!named) out.push_back({l, r.seat, r.slot});
      }
  return out;
}

}  // namespace

result<model_plan> repair(const plan_task& task) {
  std::vector<seat_id> gone;
  std::set<seat_id> kept;
  for (const auto& s : task.problem.seats) kept.insert(s.seat);
  for (const auto& layer : task.problem.current->layers)
    for (const auto& replicas : layer)
      for (const auto& r : replicas)
        if (!kept.contains(r.seat) && std::ranges::find(gone, r.seat) == gone.end()) gone.push_back(r.seat);
  auto [left, orphans] = policies::without_seats(*task.problem.current, gone);
  const placement before = left;
  patient p(task, std::move(left));
  p.trim(orphans);
  model_plan out;
  for (const auto& [l, e] : orphans)
    if (auto s = p.adopt(l, e, out.staged); !s) return fail(s.error());
  out.table = std::move(p.table());
  for (auto& layer : out.table.layers)
    for (auto& replicas : layer) std::ranges::sort(replicas, {}, &replica::seat);
  even_shares(out.table);
  out.target = out.table;
  out.dropped = no_longer_named(before, out.table);
  return out;
}

}  // namespace ballast::cluster
