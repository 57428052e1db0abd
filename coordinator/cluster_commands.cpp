#include <algorithm>
#include <map>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

using commands = std::vector<std::pair<seat_id, command_body>>;

template <class Command>
commands same_for(const std::vector<seat_id>& seats, const Command& command) {
  commands out;
  for (const auto seat : seats) out.emplace_back(seat, command);
  return out;
}

// Seats with dense weights, those on the receiver's node first.
std::vector<page_source> dense_sources(const cluster_state& s, seat_id receiver, const std::vector<seat_id>& from) {
  std::vector<page_source> near, far;
  for (const auto seat : from) {
    if (!alive(s, seat)) continue;
    const auto& r = s.seats[index_of(seat)];
    (r.node == s.seats[index_of(receiver)].node ? near : far).push_back({seat, r.offer.page_address});
  }
  std::ranges::move(far, std::back_inserter(near));
  return near;
}

stage_item item_of(const cluster_state& s, model_index model, const policies::transfer& t) {
  stage_item item{model, t.layer, t.expert, t.slot, {}};
  for (const auto seat : t.sources)
    if (alive(s, seat)) item.sources.push_back({seat, s.seats[index_of(seat)].offer.page_address});
  return item;
}

// Slots count as litter from the moment a stage is sent until a table in use names them.
commands stages(context& c, std::map<seat_id, std::vector<stage_item>> items) {
  commands out;
  for (auto& [seat, list] : items) {
    if (!alive(c.s, seat)) continue;
    auto& slots = c.s.unnamed[seat];
    for (const auto& i : list) slots.insert({i.model, i.layer, i.slot});
    out.emplace_back(seat, command::stage{std::move(list)});
  }
  return out;
}

commands stage_plan(context& c) {
  std::map<seat_id, std::vector<stage_item>> items;
  for (const auto& m : c.op().made->models)
    for (const auto& t : m.staged) items[t.seat].push_back(item_of(c.s, m.model, t));
  return stages(c, std::move(items));
}

commands stage_wave(context& c) {
  const auto* w = wave_of(c.op());
  if (!w) return {};
  const auto model = c.op().made->models[c.op().model].model;
  std::map<seat_id, std::vector<stage_item>> items;
  for (const auto& t : w->adds) items[t.seat].push_back(item_of(c.s, model, t));
  return stages(c, std::move(items));
}

commands publish_wave(context& c) {
  const auto* w = wave_of(c.op());
  if (!w) return {};
  auto& m = c.s.models[c.op().made->models[c.op().model].model];
  m.publishing = w->after;
  m.publishing->model = c.op().made->models[c.op().model].model;
  m.publishing->version = ++m.last_version;
  return same_for(c.s.members, command::publish{*m.publishing});
}

commands reclaim_unnamed(context& c, const std::vector<seat_id>& seats) {
  commands out;
  for (const auto& [seat, slots] : c.s.unnamed)
    if (!slots.empty() && contains(seats, seat)) out.emplace_back(seat, command::reclaim{{slots.begin(), slots.end()}});
  return out;
}

commands reclaim_wave(context& c) { return wave_of(c.op()) ? reclaim_unnamed(c, c.s.members) : commands{}; }

std::vector<comm_member> members_with_contributions(const operation& op) {
  std::vector<comm_member> out;
  for (const auto& a : op.now.answers) out.push_back({a.seat, a.incarnation, a.contribution});
  std::ranges::sort(out, {}, &comm_member::seat);
  return out;
}

std::vector<placement> tables_in_use(const cluster_state& s) {
  std::vector<placement> out;
  for (const auto& m : s.models)
    if (m.current) out.push_back(*m.current);
  return out;
}

// The tables that come with a switch: the plan's, under versions of their own, or those in use.
std::vector<placement> switch_tables(context& c) {
  if (c.op().what.kind == operation_kind::scale && c.op().leavers.empty())
    for (auto& m : c.op().made->models) m.table.version = ++c.s.models[m.model].last_version;
  else
    return tables_in_use(c.s);
  std::vector<placement> out;
  for (const auto& m : c.op().made->models) out.push_back(m.table);
  return out;
}

commands arm_all(context& c) {
  const auto tables = switch_tables(c);
  auto& op = c.op();
  op.switch_uncertain = true;
  commands out;
  for (const auto seat : joined(op.old_members, op.joiners)) {
    const bool member = contains(op.new_members, seat);
    out.emplace_back(seat, command::arm{op.epoch, member, member ? tables : std::vector<placement>{}});
  }
  return out;
}

commands revert_all(context& c) {
  auto& op = c.op();
  command::revert r{
      op.epoch, c.s.newest_step + 256, {}};  // beyond any step that may have been made since the last beat
  for (std::size_t i = 0; i < c.s.models.size(); ++i) {
    if (!op.old_tables[i]) continue;
    op.old_tables[i]->version = ++c.s.models[i].last_version;
    c.s.models[i].current = op.old_tables[i];
    r.tables.push_back(*op.old_tables[i]);
  }
  return same_for(op.old_members, r);
}

commands resume_all(context& c) {
  auto& op = c.op();
  for (auto& m : op.made->models) m.table.version = ++c.s.models[m.model].last_version;
  command::resume r{op.epoch, c.s.newest_step + 1, {}};
  for (const auto& m : op.made->models) r.tables.push_back(m.table);
  c.s.epoch = op.epoch;
  return same_for(op.new_members, r);
}

commands drain_all(const context& c) {
  const auto& op = *c.s.running;
  std::vector<session_target> targets;
  for (const auto seat : op.new_members) {
    const auto& r = c.s.seats[index_of(seat)];
    targets.push_back({seat, c.s.agents.at(r.agent).front_end});
  }
  return same_for(op.leavers, command::drain{targets});
}

std::vector<seat_id> stepping_or_joining(const cluster_state& s) {
  std::vector<seat_id> out;
  for (const auto& r : s.seats)
    if (r.state != seat_state::idle && r.state != seat_state::lost) out.push_back(r.id);
  return out;
}

commands prepare_all(const context& c) {
  commands out;
  for (const auto seat : c.s.running->joiners)
    out.emplace_back(seat, command::prepare{dense_sources(c.s, seat, c.s.members)});
  return out;
}

commands open_all(context& c) {
  c.op().epoch = ++c.s.last_epoch;
  return same_for(c.op().new_members, command::open_comm{c.op().epoch});
}

std::vector<seat_id> to_release(const context& c) {
  const auto& op = *c.s.running;
  if (op.what.kind == operation_kind::replace) return without(stepping_or_joining(c.s), op.new_members);
  return op.undoing ? op.joiners : op.leavers;
}

}  // namespace

const policies::wave* wave_of(const operation& op) {
  if (!op.made || op.model >= op.made->models.size()) return nullptr;
  const auto& waves = op.made->models[op.model].waves;
  return op.wave < waves.size() ? &waves[op.wave] : nullptr;
}

std::vector<std::pair<seat_id, command_body>> commands_of(context& c, phase p) {
  auto& op = c.op();
  const bool standby = op.epoch != 0;
  const bool reverted = op.undoing && !c.s.members.empty();
  switch (p) {
    case phase::planning:
      return {};
    case phase::preparing:
      return prepare_all(c);
    case phase::staging:
      return stage_plan(c);
    case phase::draining:
      return drain_all(c);
    case phase::holding:
      return same_for(c.s.config.use_async ? std::vector<seat_id>{} : c.s.held = c.s.members, command::hold{});
    case phase::wave_staging:
      return stage_wave(c);
    case phase::wave_publishing:
      return publish_wave(c);
    case phase::wave_reclaiming:
      return reclaim_wave(c);
    case phase::opening:
      return open_all(c);
    case phase::connecting:
      return same_for(op.new_members, command::connect_comm{op.epoch, members_with_contributions(op)});
    case phase::switching:
      return arm_all(c);
    case phase::probation:
      return same_for(op.new_members, command::probation{op.epoch, c.s.config.probation_steps});
    case phase::closing:
      return same_for(op.new_members, command::close_comm{c.s.epoch});
    case phase::unholding:
      return same_for(std::vector(c.s.held), command::unhold{});
    case phase::releasing:
      return same_for(to_release(c), command::release{});
    case phase::disarming:
      return op.switch_uncertain ? same_for(op.old_members, command::disarm{op.epoch}) : commands{};
    case phase::dropping:
      return standby ? same_for(op.old_members, command::close_comm{op.old_epoch}) : commands{};
    case phase::undraining:
      return same_for(op.leavers, command::undrain{});
    case phase::cleaning:
      return reclaim_unnamed(c, op.what.kind == operation_kind::replace ? op.new_members : c.s.members);
    case phase::reverting:
      return revert_all(c);
    case phase::halting:
      return same_for(reverted ? op.joiners : stepping_or_joining(c.s), command::halt{});
    case phase::resuming:
      return resume_all(c);
  }
  return {};
}

}  // namespace ballast::cluster
