#include "tests/sim/sim_rank.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace ballast::sim {

rank::rank(fabric& shared, seat_capacity capacity, std::vector<std::uint32_t> layers)
    : shared_(shared), capacity_(std::move(capacity)), layers_(std::move(layers)) {}

rank::~rank() {
  if (!machine_) return;
  shared_.seated.erase({id(), incarnation()});
  shared_.changed = true;
}

void rank::take_seat(seat_id as, incarnation_t number) {
  machine_.emplace(as, number);
  shared_.seated[{as, number}] = this;
}

void rank::feed(const rank_event_body& event) {
  if (!machine_) return;
  for (auto& effect : machine_->on(event)) perform(effect);
}

void rank::later(std::uint64_t delay_us, std::function<void()> what) {
  shared_.sim.after(delay_us, [alive = std::weak_ptr(alive_), what = std::move(what)] {
    if (alive.lock()) what();
  });
}

void rank::feed_later(std::uint64_t least_us, std::uint64_t most_us, rank_event_body event) {
  later(shared_.sim.roll.between(least_us, most_us), [this, event = std::move(event)] { feed(event); });
}

void rank::post(item i) {
  items_.push_back(std::move(i));
  wake();
}

void rank::wake() {
  if (doing_ != doing::parked || run_due_) return;
  run_due_ = true;
  later(10, [this] {
    run_due_ = false;
    run();
  });
}

bool rank::peer_began(const communicator& comm) const {
  return std::ranges::any_of(comm.present, [&](const auto& p) { return p.first != id(); });
}

void rank::run() {
  if (doing_ != doing::parked) return;
  take_items();
  if (!loop_.may_step()) return;
  const auto held = comms_.find(loop_.epoch());
  if (held == comms_.end())
    throw broken(
        fmt::format("seat {} steps on communicator {}, which it does not hold", index_of(id()), loop_.epoch()));
  const bool begun = peer_began(shared_.comms[loop_.epoch()]);
  if (loop_.wants_step() || (working_ && loop_.may_begin()) || begun) begin_step();
}

void rank::take_items() {
  auto taken = std::exchange(items_, {});
  for (auto& i : taken) take(i);
}

void rank::take(item& i) {
  if (i.enter) {
    for (const auto& staged : i.staged) set_slot(staged);
    feed(rank_event::noticed{{i.sequence, std::nullopt, false}, loop_.last_step(), loop_.epoch()});
  } else if (i.empty_all) {
    while (!slots_.empty()) clear_slot(slots_.begin()->first);
    act(loop_.take(i.sequence, command::release{}));
    prepared_.clear();
    routing_ = {};
    comms_.clear();
  } else if (i.order) {
    std::vector<placement> tables;
    if (const auto* p = std::get_if<command::publish>(&*i.order)) tables = {p->table};
    if (const auto* a = std::get_if<command::arm>(&*i.order)) tables = a->tables;
    if (const auto* r = std::get_if<command::resume>(&*i.order)) tables = r->tables;
    if (const auto* r = std::get_if<command::revert>(&*i.order)) tables = r->tables;
    for (auto& t : tables) prepared_[{t.model, t.version}] = std::make_shared<const placement>(t);
    act(loop_.take(i.sequence, *i.order));
    if (std::holds_alternative<command::halt>(*i.order)) comms_.clear();
    if (const auto* close = std::get_if<command::close_comm>(&*i.order))
      std::erase_if(comms_, [&](const auto& c) { return c.first != close->keep && c.first != loop_.epoch(); });
  } else {
    for (const auto& s : i.empty) clear_slot({s.model, s.layer, s.slot});
    feed(rank_event::noticed{{i.sequence, std::nullopt, false}, loop_.last_step(), loop_.epoch()});
  }
}

void rank::set_slot(const stage_item& i) {
  const slot_key key{i.model, i.layer, i.slot};
  if (i.slot >= slot_entries(capacity_.models[i.model]))
    throw broken(fmt::format("seat {}: slot {} lies outside the table", index_of(id()), i.slot));
  if (slots_.contains(key))
    throw broken(fmt::format("seat {}: model {} layer {} slot {} is filled while it is in use", index_of(id()), i.model,
                             i.layer, i.slot));
  slots_[key] = i.expert;
  shared_.changed = true;
}

void rank::clear_slot(slot_key key) {
  if (slots_.erase(key) == 0) return;
  --pages_used_[std::get<0>(key)];
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
  shared_.changed = true;
  for (const auto& n : actions.notices) feed(rank_event::noticed{n, loop_.last_step(), loop_.epoch()});
}

void rank::begin_step() {
  const epoch_t epoch = loop_.epoch();
  auto& comm = shared_.comms[epoch];
  if (comms_[epoch]) return fail_step(errc::aborted, "aborted");
  if (comm.broken) return fail_step(errc::unavailable, "a peer is gone");
  if (loop_.joining()) {
    const auto peer = std::ranges::find_if(comm.present, [&](const auto& p) { return p.first != id(); });
    loop_.adopt(peer->second.step);
  }
  comm.present[id()] = loop_.header({working_ ? 1u : 0u});
  doing_ = doing::exchanging;
  const auto mine = ++exchange_;
  if (comm.present.size() == comm.members.size()) return complete_exchange(comm);
  for (const auto& m : comm.members)
    if (auto* peer = shared_.find(m)) peer->wake();
  later(shared_.collective_timeout_us, [this, mine, epoch] {
    if (doing_ == doing::exchanging && exchange_ == mine) break_off(epoch, errc::timed_out, "a member did not come");
  });
}

void rank::complete_exchange(communicator& comm) {
  std::vector<gpu::step_header> headers;
  for (const auto& [seat, h] : comm.present) headers.push_back(h);
  for (const auto& h : headers)
    if (h.step != headers.front().step)
      throw broken(fmt::format("ranks of one communicator are at steps {} and {}", headers.front().step, h.step));
  comm.present.clear();
  for (const auto& m : comm.members) {
    auto* peer = shared_.find(m);
    if (!peer) throw broken("a dead rank took part in a step");
    peer->loop_.after_headers(headers);
    peer->doing_ = doing::computing;
    shared_.changed |= peer->loop_.joining();
    ++peer->exchange_;
    peer->later(peer->slowness * shared_.sim.roll.between(2000, 6000), [peer] { peer->finish_step(); });
  }
}

void rank::finish_step() {
  if (doing_ != doing::computing) return;
  const epoch_t epoch = loop_.epoch();
  const bool aborted = !comms_.contains(epoch) || comms_[epoch];
  // What breaks in the middle of a step hits some ranks before and some after the last thing they need of the others.
  if (aborted && shared_.sim.roll.chance(0.5)) return fail_step(errc::aborted, "aborted");
  if (shared_.comms[epoch].broken && shared_.sim.roll.chance(0.5))
    return fail_step(errc::unavailable, "a peer went away in the step");
  doing_ = doing::parked;
  act(loop_.after_step());
  if (loop_.last_step() % 8 == 0) report_loads();
  wake();
}

void rank::break_off(epoch_t epoch, errc code, const char* why) {
  if (doing_ != doing::exchanging || loop_.epoch() != epoch) return;
  shared_.comms[epoch].present.erase(id());
  fail_step(code, why);
}

void rank::fail_step(errc code, const char* why) {
  const epoch_t epoch = loop_.epoch();
  loop_.failed();
  shared_.changed = true;
  doing_ = doing::parked;
  ++exchange_;
  shared_.sim.trace(
      [&] { return fmt::format("seat {}: step {} on {} failed: {}", index_of(id()), loop_.next_step(), epoch, why); });
  if (code != errc::aborted) feed(rank_event::comm_failed{epoch, {code, why}});
  wake();
}

void rank::report_loads() {
  for (model_index m = 0; m < layers_.size(); ++m) {
    if (!routing_[m] || !working_) continue;
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
