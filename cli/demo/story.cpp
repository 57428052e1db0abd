#include "cli/demo/story.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "cli/checkpoint/topic_model.hpp"
#include "cli/render/render.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto story_look = 200ms;
constexpr auto story_limit = 40s;
constexpr std::uint64_t requests_a_recording = 4096;  // the topic mix walks through the recording once in so many

bool is_over(const operation_status& op) { return op.outcome != "running"; }

}  // namespace

demo_story::demo_story(demo_deployment& deployment, const demo_settings& settings, demo_view& view, stop_signal& stop)
    : deployment_(deployment), settings_(settings), view_(view), stop_(stop), began_(clock::now()) {}

double demo_story::seconds() const { return std::chrono::duration<double>(clock::now() - began_).count(); }

request_maker demo_story::maker() const { return make_; }

result<demo_report> demo_story::run() {
  if (auto done = connect(); !done) return fail(done.error());
  if (auto done = wait_for_seats(); !done) return fail(done.error());
  if (auto done = start_traffic(); !done) return fail(done.error());
  if (auto done = measure_quiet(); !done) return fail(done.error());
  if (auto done = rebalance(); !done) return fail(done.error());
  scale_request up;
  up.ranks = 6;
  if (auto done = scale("scaling to 6 ranks", up); !done) return fail(done.error());
  // To three ranks that are no neighbours: the first, one from the middle, the last; the seats between them leave.
  const auto active = seats_in("active");
  scale_request down;
  down.seats = {active.front().seat, active[active.size() / 2 - 1].seat, active.back().seat};
  if (auto done = scale("scaling to seats " + text::seats(down.seats), down); !done) return fail(done.error());
  if (auto done = lose_a_seat(); !done) return fail(done.error());
  if (auto done = drain(); !done) return fail(done.error());
  report_.seconds = seconds();
  return report_;
}

status demo_story::connect() {
  control_options options;
  options.coordinator = deployment_.coordinator();
  options.events = deployment_.events();
  auto made = control_client::connect(context_, options, [this](const event& news) { on_event(news); });
  if (!made) return fail(made.error());
  control_ = std::move(*made);
  return {};
}

void demo_story::on_event(const event& news) {
  const std::lock_guard lock(mutex_);
  for (const auto& op : news.operation) {
    if (is_over(op)) ended_.try_emplace(op.id, clock::now());
  }
  has_news_ = true;
  news_.notify_all();
}

demo_story::moment demo_story::ended_at(operation_id id) {
  const std::lock_guard lock(mutex_);
  const auto at = ended_.find(id);
  return at == ended_.end() ? clock::now() : at->second;
}

status demo_story::wait_for_seats() {
  return until("starting", 30s, [&] {
    return seats_in("active").size() >= settings_.initial_ranks && cluster_.seats.size() >= settings_.agents &&
           find([](const auto& op) { return !is_over(op); }) == nullptr;
  });
}

status demo_story::start_traffic() {
  auto topics = load_topics(deployment_.checkpoint());
  if (!topics) return fail(topics.error());
  const auto inputs = std::make_shared<const topic_inputs>(std::move(*topics));
  make_ = [inputs, s = settings_, model = deployment_.model()](std::uint64_t number) {
    inference_request request;
    request.id = fmt::format("demo-{}", number);
    request.model = model;
    request.tokens = s.tokens;
    request.steps = s.steps;
    const double position = static_cast<double>(number % requests_a_recording) / requests_a_recording;
    request.hidden = inputs->hidden(s.seed, number, inputs->topic_of(position, number), s.tokens);
    return request;
  };
  serving_options serving;
  serving.coordinator = deployment_.coordinator();
  serving.events = deployment_.events();
  load_options load;
  load.concurrency = settings_.concurrency;
  auto made = load_generator::start(context_, serving, load, make_, [this](const request_record& record) {
    if (record.failure) return;
    const auto number = std::stoull(record.request.id.substr(record.request.id.find('-') + 1));
    answers_.push_back({number, record.digests, record.outputs.back()});
  });
  if (!made) return fail(made.error());
  traffic_ = std::move(*made);
  return {};
}

status demo_story::measure_quiet() {
  if (auto done = stay("warming up", 2s); !done) return done;
  quiet_.from = clock::now();
  if (auto done = stay("quiet", 8s); !done) return done;
  quiet_.to = clock::now();
  return {};
}

status demo_story::rebalance() {
  look();
  if (cluster_.models.empty()) return fail(errc::not_found, "the coordinator serves no model");
  report_.imbalance_before = cluster_.models.front().imbalance_mean;
  report_.imbalance_before_max = cluster_.models.front().imbalance_max;
  const auto began = clock::now();
  rebalance_request request;
  request.force = true;
  const auto id = control_->rebalance(request);
  if (!id) return fail(id.error());
  if (auto done = follow("rebalancing", *id, began); !done) return done;
  // Judged on steps made since, not on those it was planned from.
  const auto steps = cluster_.steps;
  const auto fresh = [&] { return cluster_.steps >= steps + settings_.window_size; };
  if (auto done = until("measuring the balance", 20s, fresh); !done) return done;
  report_.imbalance_after = cluster_.models.front().imbalance_mean;
  report_.imbalance_after_max = cluster_.models.front().imbalance_max;
  view_.note(seconds(), fmt::format("imbalance {:.3f} -> {:.3f} (mean over layers)", report_.imbalance_before,
                                    report_.imbalance_after));
  return {};
}

status demo_story::scale(const std::string& phase, const scale_request& request) {
  const auto began = clock::now();
  const auto id = control_->scale(request);
  if (!id) return fail(id.error());
  if (auto done = follow(phase, *id, began); !done) return done;
  return stay("serving", 3s);
}

status demo_story::lose_a_seat() {
  const auto active = seats_in("active");
  const auto& victim = active[active.size() / 2];
  operation_id newest = 0;
  for (const auto& op : cluster_.operations) newest = std::max(newest, op.id);
  const auto began = clock::now();
  view_.note(seconds(), fmt::format("SIGKILL to {} (seat {})", victim.agent, index_of(victim.seat)));
  if (auto done = deployment_.processes().kill(victim.agent); !done) return done;
  const auto phase = fmt::format("replacing seat {}", index_of(victim.seat));
  const auto replaced = [&](const operation_status& op) { return op.id > newest && op.kind == "replace"; };
  if (auto done = until(phase, story_limit, [&] { return find(replaced) != nullptr; }); !done) return done;
  if (auto done = follow(phase, find(replaced)->id, began); !done) return done;
  // An idle seat takes the lost one's place.
  const auto refilled = [&](const operation_status& op) { return op.id > newest && op.kind == "scale"; };
  const auto from = clock::now();
  if (auto done = until("refilling", story_limit, [&] { return find(refilled) != nullptr; }); !done) return done;
  if (auto done = follow("refilling", find(refilled)->id, from); !done) return done;
  return stay("serving", 3s);
}

status demo_story::drain() {
  traffic_->stop();
  if (auto done = until("draining", 60s, [&] { return traffic_->wait(0ms); }); !done) return done;
  look();
  report_.requests = traffic_->totals();
  report_.quiet = figures_of(traffic_->step_ms(quiet_.from, quiet_.to));
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    report_.operations[i].steps = figures_of(traffic_->step_ms(spans_[i].from, spans_[i].to));
  }
  report_.steps = cluster_.steps;
  for (const auto& op : cluster_.operations) report_.bytes_moved += op.bytes_moved;
  traffic_.reset();  // the answers are ours alone from here on
  return {};
}

status demo_story::until(const std::string& phase, std::chrono::milliseconds longest, const condition& holds) {
  phase_ = phase;
  const auto end = clock::now() + longest;
  for (;;) {
    look();
    if (holds()) return {};
    if (stop_.raised()) return fail(errc::aborted, "stopped by a signal");
    if (auto alive = deployment_.processes().check(); !alive) return alive;
    if (clock::now() >= end) {
      return fail(errc::timed_out, fmt::format("{}: not done after {} s", phase,
                                               std::chrono::duration_cast<std::chrono::seconds>(longest).count()));
    }
    std::unique_lock lock(mutex_);
    news_.wait_until(lock, std::min(end, clock::now() + story_look), [&] { return has_news_; });
    has_news_ = false;
  }
}

status demo_story::stay(const std::string& phase, std::chrono::milliseconds length) {
  const auto end = clock::now() + length;
  return until(phase, length + 10s, [&] { return clock::now() >= end; });
}

status demo_story::follow(const std::string& phase, operation_id id, moment began) {
  const auto mine = [id](const operation_status& op) { return op.id == id; };
  const auto over = [&] {
    const auto* op = find(mine);
    return op != nullptr && is_over(*op);
  };
  if (auto done = until(phase, story_limit, over); !done) return done;
  record(*find(mine), began);
  return {};
}

void demo_story::record(const operation_status& op, moment began) {
  demo_operation done;
  done.kind = op.kind;
  done.target = op.kind == "rebalance" ? deployment_.model() : text::seats(op.target);
  done.outcome = op.outcome;
  // For its clients a loss begins with the kill, not when the coordinator has noticed.
  const auto ended = ended_at(op.id);
  done.seconds = op.kind == "replace" ? std::chrono::duration<double>(ended - began).count() : op.seconds;
  done.pages_copied = op.pages_copied;
  done.bytes_moved = op.bytes_moved;
  report_.operations.push_back(done);
  spans_.push_back({began, ended});
  auto line = text::of(op);
  line.pop_back();
  view_.note(seconds(), line);
}

const operation_status* demo_story::find(const std::function<bool(const operation_status&)>& wanted) const {
  const auto at = std::find_if(cluster_.operations.begin(), cluster_.operations.end(), wanted);
  return at == cluster_.operations.end() ? nullptr : &*at;
}

std::vector<seat_status> demo_story::seats_in(const std::string& state) const {
  std::vector<seat_status> found;
  for (const auto& seat : cluster_.seats) {
    if (seat.state == state) found.push_back(seat);
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
  return found;
}

void demo_story::look() {
  if (auto now = control_->get_status()) cluster_ = std::move(*now);
  demo_moment m;
  m.seconds = seconds();
  m.phase = phase_;
  m.cluster = cluster_;
  if (traffic_ != nullptr) {
    const auto totals = traffic_->totals();
    m.sent = totals.sent;
    m.answered = totals.answered;
    m.failed = totals.failed;
    m.running = traffic_->client().running();
    m.steps = figures_of(traffic_->step_ms(clock::now() - 2s, clock::now()));
  }
  view_.show(m);
}

}  // namespace ballast
