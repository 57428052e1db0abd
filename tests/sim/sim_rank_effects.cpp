#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_rank.hpp"

namespace ballast::sim {

void rank::perform(rank_effect_body& effect) {
  std::visit([this](auto& e) { perform(e); }, effect);
}

void rank::perform(rank_effect::answer& e) { shared_.uplink(*this, std::move(e.outcome)); }
void rank::perform(rank_effect::trouble& e) { shared_.uplink(*this, std::move(e.report)); }

// A source behind a cut is waited for in vain; then comes the next one, in the end the checkpoint.
std::uint64_t rank::pull_us(const std::vector<stage_item>& items) {
  std::uint64_t most = shared_.sim.roll.between(500, 60'000);
  if (shared_.cuts.empty()) return most;
  for (const auto& i : items)
    for (const auto& source : i.sources)
      for (const auto& [who, peer] : shared_.seated)
        if (who.first == source.seat && (shared_.cut(peer->agent, agent) || shared_.cut(agent, peer->agent)))
          most = std::max<std::uint64_t>(most, shared_.sim.roll.between(200 * ms, 700 * ms));
  return most;
}

void rank::perform(rank_effect::fetch& e) {
  for (const auto& i : e.items) {
    const auto& c = capacity_.models[i.model];
    if (++pages_used_[i.model] > shared_.models[i.model].layers * c.slots_per_layer + c.spare_pages)
      throw broken(fmt::format("seat {} has no spare page for model {} layer {} expert {}", index_of(id()), i.model,
                               i.layer, i.expert));
  }
  const auto sequence = e.sequence;
  const std::uint64_t bytes = e.items.size();
  const auto delay = pull_us(e.items);
  pages_[sequence] = std::move(e.items);
  const auto generation = fetch_generation_;
  const bool fails = shared_.sim.roll.chance(shared_.pull_failures);
  if (shared_.planted == bug::unverified_stage) {
    seat_outcome early;
    early.seat = id();
    early.incarnation = incarnation();
    early.sequence = sequence;
    early.operation = 1;
    shared_.uplink(*this, early);
  }
  later(delay, [this, sequence, bytes, generation, fails] {
    status outcome;
    if (fails) outcome = ballast::fail(errc::io, "the checkpoint could not be read");
    if (generation != fetch_generation_) outcome = ballast::fail(errc::aborted, "staging was given up");
    feed(rank_event::fetched{sequence, outcome, bytes});
  });
}

void rank::perform(rank_effect::fetch_dense& e) { feed_later(500, 40'000, rank_event::fetched{e.sequence, {}, 1}); }

void rank::perform(rank_effect::discard& e) {
  const auto found = pages_.find(e.sequence);
  if (found == pages_.end()) return;
  for (const auto& i : found->second) --pages_used_[i.model];
  pages_.erase(found);
}

void rank::perform(rank_effect::cancel_fetches&) { ++fetch_generation_; }

void rank::perform(rank_effect::enter& e) {
  item i;
  i.sequence = e.sequence;
  i.enter = true;
  i.staged = std::move(pages_[e.sequence]);
  pages_.erase(e.sequence);
  post(std::move(i));
}

void rank::perform(rank_effect::empty& e) {
  item i;
  i.sequence = e.sequence;
  i.empty = std::move(e.slots);
  post(std::move(i));
}

void rank::perform(rank_effect::empty_all& e) {
  serving_ = draining_ = false;
  item sessions, pages;
  sessions.take_sessions = pages.empty_all = true;
  pages.sequence = e.sequence;
  post(std::move(sessions));
  post(std::move(pages));
}

void rank::perform(rank_effect::order& e) {
  item i;
  i.sequence = e.sequence;
  i.order = std::move(e.body);
  post(std::move(i));
}

void rank::perform(rank_effect::open& e) {
  feed_later(200, 10'000, rank_event::opened{e.sequence, fmt::format("{}/{}", index_of(id()), e.epoch)});
}

void rank::perform(rank_effect::connect& e) {
  auto& comm = shared_.comms[e.epoch];
  if (comm.members.empty()) comm.members = e.members;
  if (comm.members != e.members)
    throw broken(fmt::format("communicator {} is connected with two sets of members", e.epoch));
  comm.connecting.insert(id());
  connecting_[e.epoch] = e.sequence;
  const auto sequence = e.sequence;
  const auto epoch = e.epoch;
  later(shared_.collective_timeout_us, [this, sequence, epoch] {
    if (shared_.comms[epoch].connecting.erase(id()) == 0 || connecting_.erase(epoch) == 0) return;
    feed(rank_event::connected{sequence, epoch, ballast::fail(errc::timed_out, "a member did not come")});
  });
  try_connect(shared_, epoch);
}

void rank::try_connect(fabric& shared, epoch_t epoch) {
  auto& comm = shared.comms[epoch];
  if (comm.connecting.empty() || comm.connecting.size() != comm.members.size()) return;
  std::vector<rank*> peers;
  for (const auto& m : comm.members)
    if (auto* peer = shared.find(m)) {
      if (!peer->hears_all(comm)) return;
      peers.push_back(peer);
    }
  const bool works = !shared.sim.roll.chance(shared.build_failures);
  for (auto* peer : peers) {
    comm.connecting.erase(peer->id());
    peer->later(shared.sim.roll.between(500, 20'000), [peer, epoch, works] { peer->on_connected(epoch, works); });
  }
}

void rank::on_connected(epoch_t epoch, bool works) {
  const auto sequence = connecting_.find(epoch);
  if (sequence == connecting_.end()) return;  // given up meanwhile
  const auto answered = sequence->second;
  connecting_.erase(sequence);
  if (works) comms_[epoch] = false;
  feed(rank_event::connected{answered, epoch,
                             works ? status{} : ballast::fail(errc::unavailable, "the warm collective failed")});
}

void rank::abort(epoch_t epoch) {
  if (const auto held = comms_.find(epoch); held != comms_.end()) held->second = true;
  if (doing_ == doing::exchanging && loop_.epoch() == epoch) {
    shared_.comms[epoch].present.erase(id());
    fail_step(errc::aborted, "aborted");
  }
}

void rank::give_up_builds(const char* why, epoch_t keep) {
  for (const auto& [epoch, sequence] : std::map(connecting_)) {
    if (epoch == keep) continue;
    connecting_.erase(epoch);
    shared_.comms[epoch].connecting.erase(id());
    feed_later(10, 1000, rank_event::connected{sequence, epoch, ballast::fail(errc::aborted, why)});
  }
}

void rank::perform(rank_effect::abort_comms&) {
  for (const auto& [epoch, aborted] : std::map(comms_)) abort(epoch);
  give_up_builds("given up", 0);
}

void rank::perform(rank_effect::abort_comm& e) { abort(e.epoch); }
void rank::perform(rank_effect::drop_comms& e) { give_up_builds("given up", e.keep); }

void rank::perform(rank_effect::drain& e) {
  draining_ = true;
  drains_[e.sequence] = std::move(e.targets);
  item i;
  i.sequence = e.sequence;
  i.take_sessions = true;
  post(std::move(i));
}

void rank::perform(rank_effect::undrain&) { draining_ = false; }

}  // namespace ballast::sim
