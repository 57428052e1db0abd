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

void coordinator_shell::begin(coordinator_actor::pointer self, coordinator_config config,
                              std::shared_ptr<coordinator_ports> ports, planner_actor planner,
                              recorder_actor recorder, std::optional<cluster::recorded_start> start) {
  self_ = self;
  ports_ = std::move(ports);
  planner_ = std::move(planner);
  recorder_ = std::move(recorder);
  state_.emplace(std::move(config));
  state_->start = std::move(start);
  ticked_ = std::chrono::steady_clock::now();
}

void coordinator_shell::take(const cluster::input_body& what) {
  try {
    auto effects = cluster::step(*state_, what);
    for (auto& e : effects) std::visit([this](auto& one) { perform(one); }, e);
  } catch (const std::exception& e) {
    log::error("coordinator: an input could not be taken: {}", e.what());
  }
}

void coordinator_shell::tick() {
  const auto now = std::chrono::steady_clock::now();
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - ticked_);
  ticked_ += passed;
  now_ms_ += static_cast<std::uint64_t>(std::min(passed, most_time_in_a_tick).count());
  take(cluster::input::tick{now_ms_});
}

void coordinator_shell::stop() {
  if (planner_) self_->send(planner_, stop_atom::value);
  planner_ = nullptr;
  if (recorder_) self_->send(recorder_, stop_atom::value);
  recorder_ = nullptr;
}

void coordinator_shell::perform(cluster::effect::send& e) {
  const envelope message{e.id != 0 ? e.id : ++last_id_, "coordinator", std::move(e.body)};
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
  const envelope message{++last_id_, "coordinator", std::move(e.what)};
  if (auto sent = ports_->publish(message); !sent)
    log::debug("coordinator: event not published: {}", sent.error().text);
}

void coordinator_shell::perform(cluster::effect::record& e) {
  if (auto kept = ports_->state->apply({{}, {std::move(e.what)}}); !kept)
    log::error("coordinator: journal: {}", kept.error().text);
}

void coordinator_shell::perform(cluster::effect::record_loads& e) {
  if (!recorder_) return;
  std::string line;
  const bool admitted = gate_.admits(ports_->recording.load(std::memory_order_relaxed), line);
  if (!line.empty()) log::warn("coordinator: {}", line);
  if (!admitted) return;
  ports_->recording.fetch_add(1, std::memory_order_relaxed);
  self_->send(recorder_, std::move(e.what));
}

void coordinator_shell::perform(cluster::effect::log_line& e) {
  log::write(e.warning ? log::level::warn : log::level::info, e.text);
}

coordinator_actor::behavior_type coordinator(coordinator_actor::stateful_pointer<coordinator_shell> self,
                                             coordinator_config config, std::shared_ptr<coordinator_ports> ports,
                                             std::optional<cluster::recorded_start> start) {
  auto& system = self->home_system();
  recorder_actor records;
  if (!config.record_stats.empty())
    records = system.spawn<caf::detached>(
        recorder,
        recorder_options{config.record_stats, std::uint64_t{config.record_stats_mib} << 20, config.record_stats_files},
        ports);
  self->state.begin(self, std::move(config), ports, system.spawn<caf::detached>(planner, &cluster::make_plan),
                    std::move(records), std::move(start));
  self->delayed_send(self, tick_interval, tick_atom::value);
  return {
      [self, ports](const input_ptr& what) {
        ports->waiting.fetch_sub(1, std::memory_order_relaxed);
        self->state.take(*what);
      },
      [self](tick_atom) {
        self->state.tick();
        self->delayed_send(self, tick_interval, tick_atom::value);
      },
      [self](stop_atom) {
        self->state.stop();
        self->quit();
      },
  };
}

}  // namespace ballast
