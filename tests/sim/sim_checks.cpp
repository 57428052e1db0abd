#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {

// I1, I2, I3: whatever any rank may route by names, for every expert, replicas that their seats hold in that very slot.
// Checked after every event that changed a table in use or emptied a slot: filling one makes no table wrong.
void world::check_tables() {
  if (!fabric_.changed) return;
  fabric_.changed = false;
  if (checked_at_ != fabric_.emptied) checked_.clear();
  checked_at_ = fabric_.emptied;
  for (const auto& [key, r] : fabric_.seated) {
    if (!r->routes()) continue;
    // A seat that was declared lost while it lives: its peers have left its communicator, no step of it can end.
    const auto& seat = state_->seats[index_of(r->id())];
    if (seat.incarnation != r->incarnation() || seat.state == cluster::seat_state::lost) continue;
    for (model_index m = 0; m < models_.size(); ++m) {
      const auto table = r->routing(m);
      if (!table) throw broken(fmt::format("seat {} steps without a table of model {}", index_of(r->id()), m));
      if (checked_.insert({r->loop().epoch(), table.get()}).second) check_table(*r, *table);
    }
  }
}

void world::check_table(const rank& user, const placement& table) {
  const auto& comm = fabric_.comms[user.loop().epoch()];
  for (std::uint32_t l = 0; l < table.layers.size(); ++l)
    for (std::uint32_t e = 0; e < table.layers[l].size(); ++e) {
      const auto& replicas = table.layers[l][e];
      double shares = 0;
      for (const auto& r : replicas) shares += r.share;
      if (!replicas.empty() && std::abs(shares - 1) > 1e-9)
        throw broken(fmt::format("table {} of seat {} shares layer {} expert {} out to {}, not to 1", table.version,
                                 index_of(user.id()), l, e, shares));
      if (replicas.empty())
        throw broken(fmt::format("I1: table {} of seat {} has no replica of layer {} expert {}", table.version,
                                 index_of(user.id()), l, e));
      for (const auto& r : replicas) {
        const auto member = std::ranges::find(comm.members, r.seat, &comm_member::seat);
        if (member == comm.members.end())
          throw broken(fmt::format("I1: table {} of seat {} names seat {}, no member of its communicator {}",
                                   table.version, index_of(user.id()), index_of(r.seat), user.loop().epoch()));
        const auto* holder = fabric_.find(*member);
        if (!holder) continue;  // died; the step will fail
        const auto slot = holder->slots().find({table.model, l, r.slot});
        if (slot == holder->slots().end() || slot->second != e)
          throw broken(fmt::format(
              "I2/I3: table {} of seat {} names model {} layer {} expert {} in slot {} of seat {}, which holds {}",
              table.version, index_of(user.id()), table.model, l, e, r.slot, index_of(r.seat),
              slot == holder->slots().end() ? "nothing" : std::to_string(slot->second)));
      }
    }
}

// An update of shares names the very replicas of the table in use, and it has nothing else to do.
void world::check_share_update() {
  const auto& s = *state_;
  if (!s.running || s.running->what.kind != cluster::operation_kind::shares) return;
  const auto& update = s.running->made->models.front();
  if (!update.staged.empty() || !update.dropped.empty() || update.waves.size() != 1 ||
      !update.waves.front().adds.empty() || !update.waves.front().drops.empty())
    throw broken("an update of shares moves experts");
  auto before = *s.models[update.model].current, after = update.waves.front().after;
  for (auto* table : {&before, &after})
    for (auto& layer : table->layers)
      for (auto& replicas : layer)
        for (auto& r : replicas) r.share = 1;
  if (before.layers != after.layers) throw broken("an update of shares names other replicas");
}

// A version stands for one table, whatever failed in between.
void world::check_version(const placement& table) {
  const auto [at, fresh] = given_out_.try_emplace({table.model, table.version}, table);
  if (!fresh && !(at->second == table))
    throw broken(fmt::format("version {} of model {} was given to two tables", table.version, table.model));
}

// An old incarnation is answered with a fence and nothing else comes of it.
void world::check_fenced(const message_body& body, const cluster::effects& out) {
  const auto* o = std::get_if<seat_outcome>(&body);
  if (!o) return;
  const auto* seat = index_of(o->seat) < state_->seats.size() ? &state_->seats[index_of(o->seat)] : nullptr;
  if (seat && seat->incarnation == o->incarnation && seat->state != cluster::seat_state::lost) return;
  const auto fenced = [](const cluster::effect_body& e) {
    const auto* s = std::get_if<cluster::effect::send>(&e);
    return s && std::holds_alternative<fence>(s->body);
  };
  const bool commanded = std::ranges::any_of(out, [](const cluster::effect_body& e) {
    const auto* s = std::get_if<cluster::effect::send>(&e);
    return s && std::holds_alternative<seat_command>(s->body);
  });
  // The outcome may be what loses the seat (it failed for the third time): then the fence is the answer all the same.
  if (std::ranges::none_of(out, fenced))
    throw broken(fmt::format("an outcome of seat {}.{}, long fenced, was not answered with a fence", index_of(o->seat),
                             o->incarnation));
  if (commanded && seat && seat->incarnation != o->incarnation) throw broken("an old incarnation was obeyed");
}

// At rest every page is named by the table in use, no other page is taken, and who steps takes sessions.
void world::check_at_rest() {
  const auto& s = *state_;
  for (const auto& seat : s.seats)
    if (seat.state == cluster::seat_state::joining || seat.state == cluster::seat_state::leaving)
      throw broken(fmt::format("seat {} is still {} at rest", index_of(seat.id), to_string(seat.state)));
  for (const auto& [key, r] : fabric_.seated) check_seat_at_rest(*r);
}

void world::check_seat_at_rest(const rank& r) {
  const auto& s = *state_;
  const bool member = std::ranges::find(s.members, r.id()) != s.members.end();
  for (model_index m = 0; m < models_.size(); ++m) {
    std::uint32_t named = 0;
    if (member && s.models[m].current)
      for (const auto& layer : s.models[m].current->layers)
        for (const auto& replicas : layer)
          named += static_cast<std::uint32_t>(std::ranges::count(replicas, r.id(), &replica::seat));
    if (r.pages_used(m) != named)
      throw broken(fmt::format("seat {} has {} pages of model {} in use at rest, its table names {}", index_of(r.id()),
                               r.pages_used(m), m, named));
  }
  if (r.fetching()) throw broken(fmt::format("seat {} still holds fetched pages at rest", index_of(r.id())));
  if (member && !r.accepts()) throw broken(fmt::format("seat {} steps but takes no requests", index_of(r.id())));
}

}  // namespace ballast::sim
