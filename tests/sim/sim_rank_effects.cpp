#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_rank.hpp"

namespace ballast::sim {

void rank::perform(rank_effect_body& effect) {
  std::visit([this](auto& e) { perform(e); }, effect);
}

void rank::perform(rank_effect::answer& e) { shared_.uplink(*this, std::move(e.outcome)); }
void rank::perform(rank_effect::trouble& e) { shared_.uplink(*this, std::move(e.report)); }

void rank::perform(rank_effect::fetch& e) {
  for (const auto& i : e.items) {
    const auto& c = capacity_.models[i.model];
    if (++pages_used_[i.model] > layers_[i.model] * c.slots_per_layer + c.spare_pages)
      throw broken(fmt::format("seat {} has no spare page for model {} layer {} expert {}", index_of(id()), i.model,
                               i.layer, i.expert));
  }
  const auto sequence = e.sequence;
  const std::uint64_t bytes = e.items.size();
  pages_[sequence] = std::move(e.items);
  const auto generation = fetch_generation_;
  const bool fails = shared_.sim.roll.chance(shared_.fetch_failures);
  later(shared_.sim.roll.between(500, 60'000), [this, sequence, bytes, generation, fails] {
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
  post({e.sequence, std::nullopt, true, false, {}, std::move(pages_[e.sequence])});
  pages_.erase(e.sequence);
}
void rank::perform(rank_effect::empty& e) { post({e.sequence, std::nullopt, false, false, std::move(e.slots), {}}); }
void rank::perform(rank_effect::empty_all& e) { post({e.sequence, std::nullopt, false, true, {}, {}}); }
void rank::perform(rank_effect::order& e) { post({e.sequence, std::move(e.body), false, false, {}, {}}); }

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
  if (comm.connecting.size() != comm.members.size()) return;
  const bool works = !shared_.sim.roll.chance(shared_.connect_failures);
  for (const auto& m : std::vector(comm.members)) {
    auto* peer = shared_.find(m);
    if (!peer) continue;
    comm.connecting.erase(m.seat);
    peer->later(shared_.sim.roll.between(500, 20'000), [peer, epoch, works] { peer->on_connected(epoch, works); });
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

void rank::perform(rank_effect::abort_comms&) {
  for (const auto& [epoch, aborted] : std::map(comms_)) abort(epoch);
  for (const auto& [epoch, sequence] : std::exchange(connecting_, {})) {
    shared_.comms[epoch].connecting.erase(id());
    feed_later(10, 1000, rank_event::connected{sequence, epoch, ballast::fail(errc::aborted, "given up")});
  }
}

void rank::perform(rank_effect::abort_comm& e) { abort(e.epoch); }

void rank::perform(rank_effect::drop_comms& e) {
  for (const auto& [epoch, sequence] : std::map(connecting_)) {
    if (epoch == e.keep) continue;
    connecting_.erase(epoch);
    shared_.comms[epoch].connecting.erase(id());
    feed_later(10, 1000, rank_event::connected{sequence, epoch, ballast::fail(errc::aborted, "given up")});
  }
}

void rank::perform(rank_effect::drain& e) { feed_later(500, 30'000, rank_event::drained{e.sequence}); }
void rank::perform(rank_effect::undrain&) {}

}  // namespace ballast::sim
