#include "cli/soak/soak_course.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto operation_limit = 60s, answer_limit = 60s, page_limit = 20s, back_limit = 30s;
constexpr std::uint64_t answers_without_coordinator = 20;
constexpr auto look_interval = 1s, weigh_interval = 150s, quiet_before_weighing = 3s, weighing_takes = 8s;

bool is_open(const operation_status& op) { return op.outcome == "running"; }

}  // namespace

soak_course::soak_course(local_deployment& processes, soak_traffic& traffic, const soak_settings& settings,
                         std::uint64_t seed, stop_signal& stop)
    : processes_(processes), traffic_(traffic), settings_(settings), stop_(stop), random_(seed), began_(clock::now()) {}

status soak_course::connect(link_context& context, const control_options& options) {
  auto made = control_client::connect(context, options, [this](const event&) {
    const std::lock_guard lock(mutex_);
    has_news_ = true;
    news_.notify_all();
  });
  if (!made) return fail(made.error());
  control_ = std::move(*made);
  return {};
}

double soak_course::seconds() const { return std::chrono::duration<double>(clock::now() - began_).count(); }

std::string soak_course::agent(std::uint64_t number) const { return fmt::format("a{}", number); }

status soak_course::run(std::chrono::duration<double> length, soak_report& report) {
  report_ = &report;
  const auto end = clock::now() + std::chrono::duration_cast<clock::duration>(length);
  spare_coordinator_ = clock::now() + std::chrono::duration_cast<clock::duration>(length * settings_.coordinator_kills);
  auto done = until("starting", 30s, [&] { return cluster_.seats.size() >= settings_.agents; });
  auto weigh_at = clock::now() + weigh_interval;
  while (done && clock::now() < end) {
    const bool now = clock::now() >= weigh_at;
    if (now) weigh_at += weigh_interval;
    done = now ? weigh() : one_thing();
    if (done) done = settle();
  }
  if (done && length >= weigh_interval) done = weigh();
  if (!done && done.error().code == errc::aborted && stop_.raised()) done = {};
  if (done) done = watch_.verdict();
  report.growths = watch_.growths();
  report.minutes = seconds() / 60;
  return done;
}

status soak_course::one_thing() {
  switch (draw(9)) {
    case 0:
    case 1:
      return scale();
    case 2:
      return rebalance();
    case 3:
      return abort_something();
    case 4:
    case 5:
      return kill_during_something();
    case 6:
      return hang_one();
    case 7:
      return clock::now() < spare_coordinator_ ? kill_coordinator() : rest();
    default:
      return rest();
  }
}

// Refusals are answers, too: the seat that was chosen may just have been lost.
status soak_course::scale() {
  std::vector<seat_id> there;
  for (const auto& s : cluster_.seats)
    if (s.state != "lost") there.push_back(s.seat);
  if (there.empty()) return {};
  std::ranges::shuffle(there, random_);
  there.resize(1 + draw(there.size()));
  scale_request r;
  r.seats = there;
  r.join_first = draw(4) == 0;
  (void)control_->scale(r);
  return {};
}

status soak_course::rebalance() {
  rebalance_request r;
  r.force = true;
  (void)control_->rebalance(r);
  return {};
}

status soak_course::abort_something() {
  if (auto done = draw(3) == 0 ? rebalance() : scale(); !done) return done;
  if (auto done = pause(std::chrono::milliseconds(draw(60))); !done) return done;
  for (const auto& op : cluster_.operations)
    if (is_open(op) && control_->abort(op.id)) ++report_->aborts;
  return {};
}

status soak_course::kill_during_something() {
  const auto what = draw(4);
  if (auto done = what == 0 ? status{} : what == 1 ? rebalance() : scale(); !done) return done;
  if (auto done = pause(std::chrono::milliseconds(draw(100))); !done) return done;
  std::set<std::string> victims;
  for (auto n = 1 + draw(2); n > 0; --n)
    victims.insert(agent(settings_.steady + draw(settings_.agents - settings_.steady)));
  for (const auto& victim : victims) {
    if (auto done = processes_.kill(victim); !done) return done;
    ++report_->kills;
  }
  if (auto done = pause(std::chrono::milliseconds(draw(1500))); !done) return done;
  for (const auto& victim : victims)
    if (auto done = processes_.start_agent(victim); !done) return done;
  return all_back();
}

// At rest, where serving must go on without it, or while something is under way; sometimes an agent dies meanwhile.
status soak_course::kill_coordinator() {
  const auto what = draw(4);
  auto done = what == 0 ? settle() : what == 1 ? rebalance() : scale();
  if (done && what != 0) done = pause(std::chrono::milliseconds(draw(300)));
  if (done) done = processes_.kill(local_deployment::coordinator_name());
  if (!done) return done;
  ++report_->coordinator_kills;
  coordinator_away_ = true;
  const auto answered = traffic_.counts().answered;
  done = what == 0 ? until("answering without a coordinator", answer_limit,
                           [&] { return traffic_.counts().answered >= answered + answers_without_coordinator; })
                   : pause(std::chrono::milliseconds(draw(1500)));
  const auto victim = agent(settings_.steady + draw(settings_.agents - settings_.steady));
  const bool one_dies = draw(3) == 0;
  if (done && one_dies) done = processes_.kill(victim);
  if (done) done = processes_.start_coordinator();
  coordinator_away_ = false;
  if (!done || !one_dies) return done ? all_back() : done;
  ++report_->kills;
  if (done = pause(std::chrono::milliseconds(draw(1500))); !done) return done;
  if (done = processes_.start_agent(victim); !done) return done;
  return all_back();
}

// Shorter and longer than what is noticed.
status soak_course::hang_one() {
  const auto victim = agent(draw(settings_.agents));
  if (draw(2) == 0)
    if (auto done = scale(); !done) return done;
  if (auto done = processes_.pause(victim); !done) return done;
  ++report_->hangs;
  auto done = pause(std::chrono::milliseconds(100 + draw(2500)));
  if (auto woken = processes_.resume(victim); !woken) return woken;
  if (!done) return done;
  return all_back();
}

status soak_course::all_back() {
  return until("coming back", back_limit,
               [&] { return std::ranges::none_of(cluster_.seats, [](const auto& s) { return s.state == "lost"; }); });
}

status soak_course::rest() {
  if (auto done = settle(); !done) return done;
  if (auto done = pause(std::chrono::milliseconds(500 + draw(1500))); !done) return done;
  return count_pages();
}

// What processes hold goes with the number of ranks: like is compared with like, the first agents serving and nothing
// under way.
status soak_course::weigh() {
  std::set<std::string> first;
  for (std::uint32_t n = 0; n < settings_.initial_ranks; ++n) first.insert(agent(n));
  const auto only_they_serve = [&] {
    if (std::ranges::any_of(cluster_.operations, is_open)) return false;
    scale_request r;
    bool as_wanted = true;
    for (const auto& s : cluster_.seats) {
      if (first.contains(s.agent)) r.seats.push_back(s.seat);
      as_wanted = as_wanted && first.contains(s.agent) == (s.state == "active");
    }
    if (!as_wanted) (void)control_->scale(r);
    return as_wanted;
  };
  if (auto done = until("serving with the first agents", operation_limit, only_they_serve); !done) return done;
  if (auto done = pause(quiet_before_weighing); !done) return done;
  weighing_ = true;
  auto done = pause(weighing_takes);
  weighing_ = false;
  return done;
}

// At rest a seat's pages are its replicas, to the last one. Share updates and automatic operations may come between.
status soak_course::count_pages() {
  const auto exact = [&] {
    return std::ranges::all_of(cluster_.seats,
                               [](const auto& s) { return s.state == "lost" || s.pages == s.replicas; });
  };
  auto done = until("counting pages", page_limit, exact);
  if (done) ++report_->page_checks;
  if (done || done.error().code != errc::timed_out) return done;
  for (const auto& s : cluster_.seats)
    if (s.pages != s.replicas)
      return fail(errc::does_not_fit, fmt::format("pages leak: seat {} ({}) has {} pages in use for {} replicas",
                                                  index_of(s.seat), s.agent, s.pages, s.replicas));
  return done;
}

status soak_course::settle() {
  auto done = until("ending every operation", operation_limit,
                    [&] { return std::ranges::none_of(cluster_.operations, is_open); });
  if (!done) return done;
  const auto answered = traffic_.counts().answered;
  return until("answering", answer_limit, [&] { return traffic_.counts().answered > answered; });
}

status soak_course::until(const std::string& what, std::chrono::milliseconds longest, const condition& holds) {
  const auto end = clock::now() + longest;
  for (;;) {
    look();
    if (holds()) return {};
    if (stop_.raised()) return fail(errc::aborted, "stopped by a signal");
    if (auto alive = processes_.check(); !alive) return alive;
    if (const auto counts = traffic_.counts(); counts.failed + counts.different > 0)
      return fail(errc::corrupt, counts.first_problem);
    if (clock::now() >= end)
      return fail(errc::timed_out, fmt::format("{}: not done after {} s", what,
                                               std::chrono::duration_cast<std::chrono::seconds>(longest).count()));
    std::unique_lock lock(mutex_);
    news_.wait_until(lock, std::min(end, clock::now() + 100ms), [&] { return has_news_; });
    has_news_ = false;
  }
}

status soak_course::pause(std::chrono::milliseconds length) {
  const auto end = clock::now() + length;
  return until("resting", length + 30s, [&] { return clock::now() >= end; });
}

void soak_course::look() {
  if (!coordinator_away_)
    if (auto now = control_->get_status()) cluster_ = std::move(*now);
  for (const auto& op : cluster_.operations) {
    if (op.id > noted_) open_.insert(op.id);
    if (is_open(op) || open_.erase(op.id) == 0) continue;
    ++report_->operations[op.kind + " " + op.outcome];
    if (op.outcome == "failed") ++report_->failures[op.kind + ": " + op.reason];
  }
  for (const auto& op : cluster_.operations) noted_ = std::max(noted_, op.id);
  if (clock::now() - looked_ < look_interval) return;
  looked_ = clock::now();
  for (const auto& [name, pid] : processes_.running()) {
    watch_.see(seconds(), name, pid);
    if (!weighing_) continue;
    if (const auto seen = read_vitals(pid)) watch_.note(seconds(), name, pid, *seen);
  }
}

}  // namespace ballast
