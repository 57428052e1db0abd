// How simulated ranks step together: headers, tokens through experts, failures in the middle.
#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_rank.hpp"

namespace ballast::sim {

void rank::begin_step() {
  const epoch_t epoch = loop_.epoch();
  auto& comm = shared_.comms[epoch];
  if (comms_[epoch]) return fail_step(errc::aborted, "aborted");
  if (comm.broken) return fail_step(errc::unavailable, "a peer is gone");
  if (loop_.joining()) {
    const auto peer = std::ranges::find_if(comm.present, [&](const auto& p) { return p.first != id(); });
    loop_.adopt(peer->second.step);
  }
  for (model_index m = 0; m < capacity_.models.size(); ++m) board_.pick(m);
  comm.present[id()] = loop_.header({has_work() ? 1u : 0u});
  doing_ = doing::exchanging;
  const auto mine = ++exchange_;
  if (comm.present.size() == 1 && comm.members.size() > 1)
    for (const auto& m : comm.members)
      if (auto* peer = shared_.find(m)) peer->wake();
  try_exchange(shared_, epoch);
  if (doing_ != doing::exchanging || exchange_ != mine) return;
  later(shared_.collective_timeout_us, [this, mine, epoch] {
    if (doing_ == doing::exchanging && exchange_ == mine) break_off(epoch, errc::timed_out, "a member did not come");
  });
}

bool rank::hears_all(const communicator& comm) const {
  if (shared_.cuts.empty()) return true;
  return std::ranges::all_of(comm.members, [&](const comm_member& m) {
    const auto* peer = shared_.find(m);
    return peer && !shared_.cut(peer->agent, agent);
  });
}

void rank::try_exchange(fabric& shared, epoch_t epoch) {
  auto& comm = shared.comms[epoch];
  if (comm.present.empty() || comm.present.size() != comm.members.size()) return;
  std::vector<gpu::step_header> headers;
  for (const auto& [seat, h] : comm.present) headers.push_back(h);
  for (const auto& h : headers)
    if (h.step != headers.front().step)
      throw broken(fmt::format("ranks of one communicator are at steps {} and {}", headers.front().step, h.step));
  std::vector<rank*> peers;
  bool all_hear = true;
  for (const auto& m : comm.members) {
    auto* peer = shared.find(m);
    if (!peer) throw broken("a dead rank took part in a step");
    peers.push_back(peer);
    if (peer->hears_all(comm))
      peer->act(peer->loop_.after_headers(headers));
    else
      all_hear = false;
  }
  if (!all_hear) return;  // who has heard everybody waits for the tokens of those who have not
  comm.present.clear();
  for (auto* peer : peers) {
    peer->doing_ = doing::computing;
    shared.changed |= peer->loop_.joining();
    ++peer->exchange_;
    peer->compute();
    peer->later(peer->slowness * shared.sim.roll.between(4 * ms, 10 * ms), [peer] { peer->finish_step(); });
  }
}

// Every token goes where the table sends it and comes back as what is really there makes of it.
void rank::compute() {
  const auto& comm = shared_.comms[loop_.epoch()];
  for (model_index m = 0; m < capacity_.models.size(); ++m) {
    rows_[m].clear();
    for (const session* s : board_.pick(m)) rows_[m].insert(rows_[m].end(), s->hidden.begin(), s->hidden.end());
    if (rows_[m].empty()) continue;
    const auto table = routing_[m];
    if (!table) throw broken(fmt::format("seat {} steps without a table of model {}", index_of(id()), m));
    for (auto& row : rows_[m]) {
      auto token = static_cast<std::uint32_t>(row);
      for (std::uint32_t l = 0; l < table->layers.size(); ++l) {
        const auto expert = expert_of(token, l, static_cast<std::uint32_t>(table->layers[l].size()));
        const auto& replicas = table->layers[l][expert];
        const auto& to = replicas[token % replicas.size()];
        const auto member = std::ranges::find(comm.members, to.seat, &comm_member::seat);
        const auto* holder = member == comm.members.end() ? nullptr : shared_.find(*member);
        const auto slot = holder ? holder->slots_.find({m, l, to.slot}) : slots_.end();
        if (!holder || slot == holder->slots_.end() || slot->second != expert)
          throw broken(
              fmt::format("I2: seat {} sends a token for layer {} expert {} to slot {} of seat {}, which does "
                          "not hold it",
                          index_of(id()), l, expert, to.slot, index_of(to.seat)));
        token = through_expert(token, l, slot->second);
      }
      row = static_cast<float>(token);
    }
  }
}

void rank::finish_step() {
  if (doing_ != doing::computing) return;
  const epoch_t epoch = loop_.epoch();
  const auto held = comms_.find(epoch);
  const bool aborted = held == comms_.end() || held->second;
  // What breaks in the middle of a step hits some ranks before and some after the last thing they need of the others.
  if (aborted && shared_.sim.roll.chance(0.5)) return fail_step(errc::aborted, "aborted");
  if (shared_.comms[epoch].broken && shared_.sim.roll.chance(0.5))
    return fail_step(errc::unavailable, "a peer went away in the step");
  doing_ = doing::parked;
  for (model_index m = 0; m < capacity_.models.size(); ++m)
    if (!rows_[m].empty())
      for (auto& output : board_.advance(m, rows_[m])) shared_.output(*this, std::move(output));
  act(loop_.after_step());
  if (loop_.last_step() % 8 == 0) report_loads();
  wake();
}

void rank::break_off(epoch_t epoch, errc code, const char* why) {
  if (hung_ || doing_ != doing::exchanging || loop_.epoch() != epoch) return;
  shared_.comms[epoch].present.erase(id());
  fail_step(code, why);
}

void rank::fail_step(errc code, const char* why) {
  const epoch_t epoch = loop_.epoch();
  loop_.failed();
  doing_ = doing::parked;
  ++exchange_;
  shared_.sim.trace(
      [&] { return fmt::format("seat {}: step {} on {} failed: {}", index_of(id()), loop_.next_step(), epoch, why); });
  if (code != errc::aborted) feed(rank_event::comm_failed{epoch, {code, why}});
  wake();
}

}  // namespace ballast::sim
