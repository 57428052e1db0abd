#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "agent/actors_impl.hpp"
#include "messages/complaints.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

// Performs the effects of a rank_machine.
struct rank_shell {
  rank_unit* unit = nullptr;
  rank_actor::pointer self = nullptr;
  transfer_actor transfer;
  builder_actor builder;
  std::optional<rank_machine> machine;              // while seated
  std::map<std::uint64_t, std::vector<slot_write>> pages;  // fetched, not entered yet
  std::map<std::uint64_t, std::vector<session_target>> drains;
  std::set<epoch_t> opened;                         // halves that the builder may be working on
  bool draining = false;
  bool serving = false;
  complaints replays;

  void feed(const rank_event_body& event) {
    if (!machine) return;
    for (auto& effect : machine->on(event)) std::visit([this](auto& e) { perform(e); }, effect);
  }

  void set_accepting() { unit->clients->set_accepting(unit->local_rank, serving && !draining); }

  void seat(const seated& s) {
    machine.emplace(s.seat, s.incarnation);
    unit->loop->set_load_interval(s.load_interval_steps);
    log::info("rank {} has seat {}, incarnation {}", unit->local_rank, index_of(s.seat), s.incarnation);
  }

  // Nothing of the old incarnation may go on: its communicators fail, its pages are spare, its sessions go elsewhere.
  void unseat() {
    machine.reset();
    serving = draining = false;
    set_accepting();
    give_up_fetches();
    abort_communicators();
    for (auto& [sequence, writes] : pages) give_back(writes);
    pages.clear();
    drains.clear();
    unit->loop->post(loop_item::export_sessions{0});
    unit->loop->post(loop_item::empty_all{0});
  }

  void noticed(const rank_event::noticed& n) {
    if (n.epoch != 0 && !serving) {
      serving = true;
      set_accepting();
    }
  }

  void fetched(fetch_result& f) {
    if (f.outcome && !f.dense.empty()) {
      unit->loop->post(loop_item::dense{f.sequence, std::move(f.dense), f.bytes});
      return;
    }
    if (!machine) {
      give_back(f.writes);
      return;
    }
    pages[f.sequence] = std::move(f.writes);
    feed(rank_event::fetched{f.sequence, f.outcome, f.bytes});
  }

  void exported(const exported_note& note) {
    const auto sequence = note.sequence;
    const rank_actor me = self;
    unit->clients->hand_over(std::move(*note.sessions), drains[sequence], [me, sequence] {
      caf::anon_send(me, rank_note{std::make_shared<const rank_event_body>(rank_event::drained{sequence})});
    });
    drains.erase(sequence);
  }

  void loads(load_summary summary) const {
    if (!machine) return;
    summary.seat = machine->seat();
    summary.incarnation = machine->incarnation();
    unit->uplink(std::move(summary));
  }

  void give_back(const std::vector<slot_write>& writes) const {
    for (const auto& w : writes) unit->device->pages(w.where.model).give_back(w.page);
  }
  void give_up_fetches() const {
    ++unit->fetch_generation;
    unit->device->transport().cancel();
  }
  void abort_communicators() {
    unit->loop->abort_communicators();
    for (const auto epoch : std::exchange(opened, {})) cancel(epoch);
  }
  // At once, which ends a connect under way; and in the builder's turn, which may not have come to the open yet, or may
  // just have handed the communicator to the loop.
  void cancel(epoch_t epoch) const {
    unit->device->builder().cancel(epoch);
    self->send(builder, cancel_note{epoch});
  }
  void fetch(fetch_job job) {
    job.generation = unit->fetch_generation;
    self->send(transfer, fetch_note{std::make_shared<const fetch_job>(std::move(job))});
  }

  void perform(rank_effect::answer& e) {
    if (e.again || e.outcome.failure.code == errc::fenced) note_replay(e);
    unit->uplink(std::move(e.outcome));
  }
  void note_replay(const rank_effect::answer& e) {
    ++unit->replayed;
    if (const auto times = replays.add(complaints::clock::now()))
      log::warn("rank {}: not obeyed ({} since the last report): {}", unit->local_rank, *times,
                e.again ? fmt::format("command {} again; its outcome is told once more", e.outcome.sequence)
                        : e.outcome.failure.text);
  }
  void perform(rank_effect::trouble& e) const { unit->uplink(std::move(e.report)); }
  void perform(rank_effect::fetch& e) { fetch({e.sequence, 0, false, std::move(e.items), {}}); }
  void perform(rank_effect::fetch_dense& e) { fetch({e.sequence, 0, true, {}, std::move(e.sources)}); }
  void perform(const rank_effect::discard& e) {
    if (const auto found = pages.find(e.sequence); found != pages.end()) {
      give_back(found->second);
      pages.erase(found);
    }
  }
  void perform(const rank_effect::cancel_fetches&) const { give_up_fetches(); }
  void perform(const rank_effect::enter& e) {
    unit->loop->post(loop_item::enter{e.sequence, std::move(pages[e.sequence])});
    pages.erase(e.sequence);
  }
  void perform(rank_effect::empty& e) const { unit->loop->post(loop_item::empty{e.sequence, std::move(e.slots)}); }
  void perform(const rank_effect::empty_all& e) {
    serving = draining = false;
    set_accepting();
    unit->loop->post(loop_item::export_sessions{0});
    unit->loop->post(loop_item::empty_all{e.sequence});
  }
  void perform(rank_effect::order& e);
  void perform(const rank_effect::open& e) {
    opened.insert(e.epoch);
    self->send(builder, open_note{e.sequence, e.epoch});
  }
  void perform(const rank_effect::connect& e) {
    self->send(builder, connect_note{e.sequence, e.epoch, machine->seat(), std::make_shared<const std::vector<comm_member>>(e.members)});
  }
  void perform(const rank_effect::abort_comms&) { abort_communicators(); }
  void perform(const rank_effect::abort_comm& e) const { unit->loop->abort_communicators(e.epoch); }
  void perform(const rank_effect::drop_comms& e) {
    for (const auto epoch : opened)
      if (epoch != e.keep) cancel(epoch);
    std::erase_if(opened, [&](epoch_t epoch) { return epoch != e.keep; });
  }
  void perform(rank_effect::drain& e) {
    draining = true;
    set_accepting();
    unit->clients->redirect_to(e.targets);
    drains[e.sequence] = std::move(e.targets);
    unit->loop->post(loop_item::export_sessions{e.sequence});
  }
  void perform(const rank_effect::undrain&) {
    draining = false;
    set_accepting();
  }
};

std::vector<placement> tables_of(const command_body& body) {
  if (const auto* c = std::get_if<command::publish>(&body)) return {c->table};
  if (const auto* c = std::get_if<command::arm>(&body)) return c->tables;
  if (const auto* c = std::get_if<command::resume>(&body)) return c->tables;
  if (const auto* c = std::get_if<command::revert>(&body)) return c->tables;
  return {};
}

// Tables are made ready here, off the issuing thread, which then only swaps a pointer.
void rank_shell::perform(rank_effect::order& e) {
  std::vector<routing_ptr> routings;
  for (const auto& table : tables_of(e.body)) {
    auto made = unit->device->make_routing(table);
    if (!made) {
      step_machine::notice refusal{e.sequence, made.error(), false};
      const auto& pulse = unit->loop->pulse();
      feed(rank_event::noticed{refusal, pulse.step, pulse.epoch});
      return;
    }
    routings.push_back(std::move(*made));
  }
  unit->loop->post(loop_item::order{e.sequence, std::move(e.body), std::move(routings)});
}

rank_actor::behavior_type rank(rank_actor::stateful_pointer<rank_shell> self, rank_unit* unit) {
  auto* shell = &self->state;
  shell->unit = unit;
  shell->self = self;
  const rank_actor me = self;
  shell->transfer = spawn_transfer(self->system(), *unit, me);
  shell->builder = spawn_builder(self->system(), *unit, me);
  self->link_to(shell->transfer);  // they end with their rank
  self->link_to(shell->builder);
  return {[shell](const seated& s) { shell->seat(s); },
          [shell](const unseated&) { shell->unseat(); },
          [shell](const rank_note& note) {
            if (const auto* n = std::get_if<rank_event::noticed>(note.event.get())) shell->noticed(*n);
            shell->feed(*note.event);
          },
          [shell](const fetched_note& note) { shell->fetched(*note.what); },
          [shell](const exported_note& note) { shell->exported(note); },
          [shell](const loads_note& note) { shell->loads(std::move(*note.loads)); },
          [shell](const discard_note& note) { shell->self->send(shell->builder, note); }};
}

}  // namespace

rank_actor spawn_rank(caf::actor_system& system, rank_unit& unit) { return system.spawn(rank, &unit); }

loop_listener listener_for(const rank_actor& rank, front_end& clients) {
  loop_listener l;
  l.on_event = [rank](rank_event_body event) {
    caf::anon_send(rank, rank_note{std::make_shared<const rank_event_body>(std::move(event))});
  };
  l.on_output = [&clients](session_output output) { clients.on_output(std::move(output)); };
  l.on_exported = [rank](std::uint64_t sequence, std::vector<session> sessions) {
    caf::anon_send(rank, exported_note{sequence, std::make_shared<std::vector<session>>(std::move(sessions))});
  };
  l.on_loads = [rank](model_index model, step_t first, step_t last, load_matrix tokens, double expert_ms) {
    caf::anon_send(rank, loads_note{std::make_shared<load_summary>(
                             load_summary{{}, 0, model, first, last, std::move(tokens), expert_ms})});
  };
  l.on_discarded = [rank](discarded_things gone) {
    caf::anon_send(rank, discard_note{std::make_shared<discarded_things>(std::move(gone))});
  };
  return l;
}

}  // namespace ballast
