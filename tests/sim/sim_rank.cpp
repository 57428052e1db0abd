#include "tests/sim/sim_rank.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace ballast::sim {

rank* fabric::find(const comm_member& m) const {
  const auto at = seated.find({m.seat, m.incarnation});
  return at == seated.end() || at->second->hung() ? nullptr : at->second;
}

std::shared_ptr<const placement> fabric::shared_table(const placement& table) {
  auto& known = tables[{table.model, table.version}];
  if (!known || !(*known == table)) known = std::make_shared<const placement>(table);
  return known;
}

rank::rank(fabric& shared, std::uint32_t in_agent, std::uint32_t local_rank, const rank_offer& offer)
    : agent(in_agent),
      local(local_rank),
      shared_(shared),
      capacity_(offer.capacity),
      board_(capacity_.max_batch_tokens) {}

rank::~rank() {
  if (!machine_) return;
  shared_.seated.erase({id(), incarnation()});
}

void rank::take_seat(seat_id as, incarnation_t number) {
  machine_.emplace(as, number);
  shared_.seated[{as, number}] = this;
}

void rank::feed(const rank_event_body& event) {
  if (!machine_ || hung_) return;
  if (const auto* n = std::get_if<rank_event::noticed>(&event)) serving_ |= n->epoch != 0;
  for (auto& effect : machine_->on(event)) perform(effect);
}

// Commands to another incarnation are answered, and nothing else comes of them.
void rank::command(seat_command c) {
  if (!machine_ || hung_) return;
  const bool meant = c.seat == id() && c.incarnation == incarnation();
  if (meant) newest_command_ = std::max(newest_command_, c.sequence);
  if (shared_.planted == bug::old_incarnation) c.incarnation = incarnation();
  if (shared_.planted == bug::runs_twice && !obeyed_.insert(c.sequence).second) c.sequence = *obeyed_.rbegin() + 1;
  auto effects = machine_->on(rank_event::commanded{std::move(c)});
  const auto answers = [](const rank_effect_body& e) { return std::holds_alternative<rank_effect::answer>(e); };
  if (!meant && !std::ranges::all_of(effects, answers))
    throw broken(fmt::format("seat {}.{} obeyed a command to another incarnation", index_of(id()), incarnation()));
  for (auto& effect : effects) perform(effect);
}

void rank::feed_later(std::uint64_t least_us, std::uint64_t most_us, rank_event_body event) {
  later(shared_.sim.roll.between(least_us, most_us), [this, event = std::move(event)] { feed(event); });
}

void rank::post(item i) {
  items_.push_back(std::move(i));
  wake();
}

void rank::add(session s) {
  item i;
  i.added = std::move(s);
  post(std::move(i));
}

void rank::cancel(std::string session) {
  item i;
  i.cancelled = std::move(session);
  post(std::move(i));
}

void rank::hang() {
  if (hung_ || !machine_) return;
  leave_communicators();
  hung_ = true;
  alive_ = std::make_shared<int>(0);
}

void rank::leave_communicators() {
  if (!machine_) return;
  for (const auto& [epoch, aborted] : comms_) shared_.comms[epoch].present.erase(id());
  for (const auto& [epoch, sequence] : connecting_) shared_.comms[epoch].connecting.erase(id());
}

void rank::wake() {
  if (doing_ != doing::parked || run_due_ || hung_) return;
  run_due_ = true;
  later(10, [this] {
    run_due_ = false;
    run();
  });
}

bool rank::peer_began(const communicator& comm) const {
  return std::ranges::any_of(comm.present, [&](const auto& p) {
    if (p.first == id()) return false;
    if (shared_.cuts.empty()) return true;
    const auto m = std::ranges::find(comm.members, p.first, &comm_member::seat);
    const auto* peer = shared_.find(*m);
    return peer && !shared_.cut(peer->agent, agent);
  });
}

void rank::run() {
  if (doing_ != doing::parked) return;
  for (auto& i : std::exchange(items_, {})) take(i);
  if (!loop_.may_step()) return;
  if (!comms_.contains(loop_.epoch()))
    throw broken(
        fmt::format("seat {} steps on communicator {}, which it does not hold", index_of(id()), loop_.epoch()));
  const bool begun = peer_began(shared_.comms[loop_.epoch()]);
  if (loop_.wants_step() || (has_work() && loop_.may_begin()) || begun) begin_step();
}

void rank::take(item& i) {
  if (i.added) {
    board_.add(std::move(*i.added));
  } else if (i.cancelled) {
    board_.remove(*i.cancelled);
  } else if (i.take_sessions) {
    auto all = board_.take_all();
    if (shared_.planted == bug::skips_step)
      for (auto& s : all) s.next_step = std::min(s.next_step + 1, s.steps - 1);
    shared_.exported(*this, i.sequence, std::move(all), std::exchange(drains_[i.sequence], {}));
  } else if (i.enter) {
    for (const auto& staged : i.staged) set_slot(staged);
    feed(rank_event::noticed{{i.sequence, std::nullopt, false}, loop_.last_step(), loop_.epoch()});
  } else if (i.empty_all) {
    if (shared_.planted != bug::keeps_pages)
      while (!slots_.empty()) clear_slot(slots_.begin()->first);
    act(loop_.take(i.sequence, command::release{}));
    prepared_.clear();
    routing_ = {};
    comms_.clear();
  } else if (i.order) {
    take_order(i);
  } else {
    for (const auto& s : i.empty) clear_slot({s.model, s.layer, s.slot});
    feed(rank_event::noticed{{i.sequence, std::nullopt, false}, loop_.last_step(), loop_.epoch()});
  }
}

void rank::take_order(item& i) {
  std::vector<placement> tables;
  if (const auto* p = std::get_if<command::publish>(&*i.order)) tables = {p->table};
  if (const auto* a = std::get_if<command::arm>(&*i.order)) tables = a->tables;
  if (const auto* r = std::get_if<command::resume>(&*i.order)) tables = r->tables;
  if (const auto* r = std::get_if<command::revert>(&*i.order)) tables = r->tables;
  for (const auto& t : tables) prepared_[{t.model, t.version}] = shared_.shared_table(t);
  act(loop_.take(i.sequence, *i.order));
  if (std::holds_alternative<command::halt>(*i.order)) comms_.clear();
  if (const auto* close = std::get_if<command::close_comm>(&*i.order))
    std::erase_if(comms_, [&](const auto& c) { return c.first != close->keep && c.first != loop_.epoch(); });
}

void rank::set_slot(const stage_item& i) {
  const slot_key key{i.model, i.layer, i.slot};
  if (i.slot >= slot_entries(capacity_.models[i.model]))
    throw broken(fmt::format("seat {}: slot {} lies outside the table", index_of(id()), i.slot));
  if (slots_.contains(key))
    throw broken(fmt::format("seat {}: model {} layer {} slot {} is filled while it is in use", index_of(id()), i.model,
                             i.layer, i.slot));
  slots_[key] = i.expert;
}

void rank::clear_slot(slot_key key) {
  if (slots_.erase(key) == 0) return;
  --pages_used_[std::get<0>(key)];
  ++shared_.emptied;
  shared_.changed = true;
}

void rank::act(const step_machine::actions& actions) {
  for (const auto& id_of_table : actions.install) {
    const auto found = prepared_.find(id_of_table);
    if (found == prepared_.end())
      throw broken(fmt::format("seat {} installs table {} of model {}, which it was never given", index_of(id()),
                               id_of_table.version, id_of_table.model));
    routing_[id_of_table.model] = found->second;
    std::erase_if(prepared_, [&](const auto& p) {
      return p.first.model == id_of_table.model && p.first.version <= id_of_table.version;
    });
  }
  shared_.changed |= !actions.install.empty() || actions.use.has_value();
  for (const auto& n : actions.notices) feed(rank_event::noticed{n, loop_.last_step(), loop_.epoch()});
}

void rank::report_loads() {
  for (model_index m = 0; m < capacity_.models.size(); ++m) {
    if (!routing_[m] || !has_work()) continue;
    load_summary l{id(), incarnation(), m, loop_.last_step() - 7, loop_.last_step(), {}};
    for (const auto& layer : routing_[m]->layers) l.tokens.emplace_back(layer.size(), 0.0);
    for (const auto& [key, expert] : slots_)
      if (std::get<0>(key) == m && std::get<1>(key) < l.tokens.size())
        l.tokens[std::get<1>(key)][expert] += static_cast<double>(shared_.sim.roll.between(0, expert == 0 ? 90 : 20));
    l.expert_ms = static_cast<double>(shared_.sim.roll.between(0, 30));
    shared_.uplink(*this, std::move(l));
  }
}

}  // namespace ballast::sim
