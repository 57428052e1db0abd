// What was saved explains what the agents do: whatever a seat was given is on the disk before the seat is told.
#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {
namespace {

bool names(const placement& table, seat_id seat, std::uint32_t layer, std::uint32_t slot, std::uint32_t expert) {
  if (layer >= table.layers.size() || expert >= table.layers[layer].size()) return false;
  return std::ranges::any_of(table.layers[layer][expert],
                             [&](const replica& r) { return r.seat == seat && r.slot == slot; });
}

// Tables that a restored state may lead to: in use, on their way, or of the plan under way.
std::vector<const placement*> known_tables(const cluster::cluster_state& s, model_index model) {
  std::vector<const placement*> out;
  const auto& m = s.models[model];
  if (m.current) out.push_back(&*m.current);
  if (m.publishing) out.push_back(&*m.publishing);
  if (!s.running || !s.running->made) return out;
  for (const auto& p : s.running->made->models)
    if (p.model == model) out.push_back(&p.table);
  return out;
}

// All its pages will be given back, whatever they hold.
bool to_be_emptied(const cluster::cluster_state& s, const cluster::seat_record& seat) {
  if (seat.state == cluster::seat_state::leaving || seat.state == cluster::seat_state::joining) return true;
  return std::ranges::find(s.members, seat.id) == s.members.end();
}

}  // namespace

void world::check_explained() {
  for (const auto& [key, r] : fabric_.seated) {
    if (r->hung()) continue;
    const auto index = index_of(r->id());
    if (index >= state_->seats.size() || state_->seats[index].incarnation < r->incarnation())
      throw broken(fmt::format("saved: seat {}.{} is not known", index, r->incarnation()));
    const auto& saved = state_->seats[index];
    if (saved.incarnation != r->incarnation() || saved.state == cluster::seat_state::lost) continue;
    check_explained(*r, saved);
  }
}

void world::check_explained(const rank& r, const cluster::seat_record& saved) {
  const auto& s = *state_;
  const auto who = index_of(r.id());
  if (r.newest_command() > saved.last_sequence)
    throw broken(fmt::format("saved: seat {} got command {}, the newest known is {}", who, r.newest_command(),
                             saved.last_sequence));
  if (r.newest_epoch() > s.last_epoch)
    throw broken(
        fmt::format("saved: seat {} has epoch {}, the newest known is {}", who, r.newest_epoch(), s.last_epoch));
  for (model_index m = 0; m < s.models.size(); ++m)
    if (const auto table = r.routing(m); table && table->version > s.models[m].last_version)
      throw broken(fmt::format("saved: seat {} uses table {} of model {}, the newest known is {}", who, table->version,
                               m, s.models[m].last_version));
  if (saved.state == cluster::seat_state::idle && !r.slots().empty())
    throw broken(fmt::format("saved: seat {} is idle, but holds {} replicas", who, r.slots().size()));
  if (to_be_emptied(s, saved)) return;
  const auto litter = s.unnamed.find(r.id());
  for (const auto& [key, expert] : r.slots()) {
    const auto [model, layer, slot] = key;
    if (litter != s.unnamed.end() && litter->second.contains({model, layer, slot})) continue;
    const auto tables = known_tables(s, model);
    if (std::ranges::none_of(tables, [&](const placement* t) { return names(*t, r.id(), layer, slot, expert); }))
      throw broken(fmt::format("saved: nothing explains model {} layer {} expert {} in slot {} of seat {}", model,
                               layer, expert, slot, who));
  }
}

}  // namespace ballast::sim
