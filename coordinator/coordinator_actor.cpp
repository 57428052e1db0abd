#include <fmt/core.h>

#include <algorithm>
#include <exception>

#include "coordinator/actors_impl.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

// A process that was held up wakes to its own late tick before it has read what arrived meanwhile. Time that passed
// unseen does not count, or every seat would seem silent.
constexpr std::chrono::milliseconds most_time_in_a_tick = 5 * tick_interval;

}  // namespace

void coordinator_shell::begin(coordinator_actor::pointer self, std::shared_ptr<beginning> from,
                              std::shared_ptr<coordinator_ports> ports, planner_actor planner, recorder_actor recorder,
                              store_actor keeper) {
  self_ = self;
  ports_ = std::move(ports);
  planner_ = std::move(planner);
  recorder_ = std::move(recorder);
  keeper_ = std::move(keeper);
  saver_ = cluster::state_saver(std::move(from->saved));
  state_.emplace(std::move(from->state));
  now_ms_ = state_->now_ms;
  ticked_ = std::chrono::steady_clock::now();
}

// Connections are followed also while nothing is decided: one that is back must not count as closed afterwards.
void coordinator_shell::hear(const cluster::input_body& what) {
  if (held_up() && !std::holds_alternative<cluster::input::connection>(what)) return refuse_operator(what);
  take(what);
}

void coordinator_shell::refuse_operator(const cluster::input_body& what) {
  const auto* m = std::get_if<cluster::input::message>(&what);
  if (!m) return;
  const auto& body = m->content.body;
  if (!std::holds_alternative<scale_request>(body) && !std::holds_alternative<rebalance_request>(body) &&
      !std::holds_alternative<abort_request>(body) && !std::holds_alternative<get_status>(body) &&
      !std::holds_alternative<get_operations>(body))
    return;
  const std::string why = failing_  ? failing_->text
                          : leads() ? "too much waits for the store"
                                    : "another coordinator may lead by now";
  cluster::effect::send answer{
      m->peer, m->content.id,
      refused{{errc::unavailable, "nothing is decided while the state cannot be saved: " + why + "; try again"}}};
  perform(answer);
}

void coordinator_shell::take(const cluster::input_body& what) {
  try {
    auto out = cluster::step(*state_, what);
    store_change change;
    if (cluster::rests_on_state(out)) {
      change = saver_.changes(*state_);
      change.journal = cluster::journal_of(out);
    }
    gate_.add(std::move(out), std::move(change));
    advance();
  } catch (const std::exception& e) {
    log::error("coordinator: an input could not be taken: {}", e.what());
  }
}

void coordinator_shell::advance() {
  auto out = gate_.released();
  for (auto& e : out) std::visit([this](auto& one) { perform(one); }, e);
  if (auto change = gate_.begin_save()) save(change);
}

// Waits for as long as it takes: the store's actor always answers, and nothing that rests on it may leave before.
void coordinator_shell::save(const change_ptr& change) {
  saving_since_ = std::chrono::steady_clock::now();
  self_->request(keeper_, caf::infinite, change)
      .then([this, change](const saved_ptr& outcome) { on_saved(change, *outcome); },
            [this, change](const caf::error&) {
              on_saved(change, fail(errc::unavailable, "store: it has been given up"));
            });
}

void coordinator_shell::fall_behind(error why) {
  if (!failing_) log::error("coordinator: {}; nothing is decided until the state can be saved, agents go on", why.text);
  failing_ = std::move(why);
}

void coordinator_shell::on_saved(const change_ptr& change, const status& outcome) {
  saving_since_.reset();
  if (outcome) {
    if (failing_) log::info("coordinator: the state can be saved again");
    failing_.reset();
    gate_.saved();
    return advance();
  }
  fall_behind(outcome.error());
  failed_ = change;
  self_->delayed_send(self_, store_retry, retry_atom::value);
}

void coordinator_shell::retry() {
  if (auto change = std::exchange(failed_, nullptr)) save(change);
}

void coordinator_shell::tick() {
  const auto now = std::chrono::steady_clock::now();
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - ticked_);
  ticked_ += passed;
  if (saving_since_ && now > *saving_since_ + store_patience && !failing_)
    fall_behind(
        {errc::unavailable, fmt::format("the store takes more than {} ms for a write", store_patience.count())});
  if (held_up()) return;
  now_ms_ += static_cast<std::uint64_t>(std::min(passed, most_time_in_a_tick).count());
  take(cluster::input::tick{now_ms_});
}

void coordinator_shell::stop() {
  if (planner_) self_->send(planner_, stop_atom::value);
  planner_ = nullptr;
  if (recorder_) self_->send(recorder_, stop_atom::value);
  recorder_ = nullptr;
  if (keeper_) self_->send(keeper_, stop_atom::value);
  keeper_ = nullptr;
}

void coordinator_shell::perform(cluster::effect::send& e) {
  if (auto* all = std::get_if<cluster_status>(&e.body); all && ports_->refused && !all->refused.empty()) {
    auto& own = all->refused.front();  // the machine knows its name, and what it did not obey
    auto here = ports_->refused();
    here.process = own.process;
    here.replayed = own.replayed;
    own = std::move(here);
  }
  const envelope message{e.id != 0 ? e.id : ++last_id_, "coordinator", std::move(e.body), ports_->term};
  if (auto sent = ports_->send(e.peer, message); !sent)
    log::warn("coordinator: {} not sent: {}", message_name(message.body), sent.error().text);
}

void coordinator_shell::perform(cluster::effect::request_plan& e) {
  const auto id = e.request.id;
  const std::chrono::milliseconds patience(state_->config.operation_deadline_ms);
  self_->request(planner_, patience, std::make_shared<const cluster::plan_request>(std::move(e.request)))
      .then([this](const planned_ptr& made) { take(*made); },
            [this, id](const caf::error&) {
              take(cluster::input::planned{id, fail(errc::timed_out, "the planner did not answer in time")});
            });
}

void coordinator_shell::perform(cluster::effect::publish& e) {
  const envelope message{++last_id_, "coordinator", std::move(e.what), ports_->term};
  if (auto sent = ports_->publish(message); !sent)
    log::debug("coordinator: event not published: {}", sent.error().text);
}

void coordinator_shell::perform(cluster::effect::record&) {}  // saved with what it tells of

void coordinator_shell::perform(cluster::effect::record_loads& e) {
  if (!recorder_) return;
  std::string line;
  const bool admitted = recording_.admits(ports_->recording.load(std::memory_order_relaxed), line);
  if (!line.empty()) log::warn("coordinator: {}", line);
  if (!admitted) return;
  ports_->recording.fetch_add(1, std::memory_order_relaxed);
  self_->send(recorder_, std::move(e.what));
}

void coordinator_shell::perform(cluster::effect::log_line& e) {
  log::write(e.warning ? log::level::warn : log::level::info, e.text);
}

coordinator_actor::behavior_type coordinator(coordinator_actor::stateful_pointer<coordinator_shell> self,
                                             std::shared_ptr<beginning> from,
                                             std::shared_ptr<coordinator_ports> ports) {
  auto& system = self->home_system();
  const auto& config = from->state.config;
  recorder_actor records;
  if (!config.record_stats.empty())
    records = system.spawn<caf::detached>(
        recorder,
        recorder_options{config.record_stats, std::uint64_t{config.record_stats_mib} << 20, config.record_stats_files},
        ports);
  auto keeping = system.spawn<caf::detached>(keeper, std::move(from->kept));
  self->state.begin(self, std::move(from), ports, system.spawn<caf::detached>(planner, &cluster::make_plan),
                    std::move(records), std::move(keeping));
  return {
      [self, ports](const input_ptr& what) {
        ports->waiting.fetch_sub(1, std::memory_order_relaxed);
        if (const auto* message = std::get_if<cluster::input::message>(what.get()))
          ports->of_peers.leave(message->peer);
        self->state.hear(*what);
      },
      [self](tick_atom) {
        self->state.tick();
        self->delayed_send(self, tick_interval, tick_atom::value);
      },
      [self](retry_atom) { self->state.retry(); },
      [self](stop_atom) {
        self->state.stop();
        self->quit();
      },
  };
}

}  // namespace ballast
