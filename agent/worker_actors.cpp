// The detached actors of a rank: they block, so that nobody else has to.
#include "agent/actors_impl.hpp"

namespace ballast {
namespace {

void tell(const rank_actor& rank, rank_event_body event) {
  caf::anon_send(rank, rank_note{std::make_shared<const rank_event_body>(std::move(event))});
}

transfer_actor::behavior_type transfer_worker(transfer_actor::pointer, rank_unit* unit, rank_actor rank) {
  return {[unit, rank](const fetch_note& note) {
    const auto& job = *note.job;
    caf::anon_send(rank, fetched_note{std::make_shared<fetch_result>(job.dense ? fetch_dense(*unit, job) : fetch_bundles(*unit, job))});
  }};
}

builder_actor::behavior_type communicator_builder(builder_actor::pointer, rank_unit* unit, rank_actor rank) {
  return {[=](const open_note& note) {
            tell(rank, rank_event::opened{note.sequence, unit->device->builder().open(note.epoch)});
          },
          [=](const connect_note& note) {
            std::vector<gpu::communicator_builder::member> members;
            for (const auto& m : *note.members) members.push_back({m.seat, m.contribution});
            auto built = unit->device->builder().connect(note.epoch, note.self, members, unit->deadline);
            status outcome;
            if (built)
              unit->loop->add_communicator(std::move(*built));
            else
              outcome = fail(built.error());
            tell(rank, rank_event::connected{note.sequence, note.epoch, outcome});
          },
          [unit](const cancel_note& note) {
            unit->device->builder().cancel(note.epoch);
            unit->loop->drop_communicator(note.epoch);
          },
          [](const discard_note& note) { note.what->clear(); }};
}

}  // namespace

transfer_actor spawn_transfer(caf::actor_system& system, rank_unit& unit, const rank_actor& rank) {
  return system.spawn<caf::detached>(transfer_worker, &unit, rank);
}

builder_actor spawn_builder(caf::actor_system& system, rank_unit& unit, const rank_actor& rank) {
  return system.spawn<caf::detached>(communicator_builder, &unit, rank);
}

}  // namespace ballast
