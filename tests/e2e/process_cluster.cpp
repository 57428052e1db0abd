#include "tests/e2e/process_cluster.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/paths.hpp"
#include "tests/support/tiny_model.hpp"

namespace ballast::test {
namespace {

using namespace std::chrono_literals;

const std::string quick = "heartbeat_ms = 50\ncommand_retry_ms = 200\n";

// Every rank can hold every expert, so that any one of them can go on alone.
std::string configuration(const std::string& folder, const cluster_options& o) {
  const auto spec = tiny_spec();
  return fmt::format(R"([coordinator]
bind = "ipc://{0}/coordinator"
events = "ipc://{0}/events"
initial_ranks = {1}
num_redundant_experts = 4
window_size = 200
step_interval = 0
load_interval_steps = 4
policy = "deepseek"
imbalance_trigger = 1.0
shares_interval_ms = 0
store = "memory"
{2}
[agent]
coordinator = "ipc://{0}/{12}"
data = "ipc://{0}/data-*"
slots_per_layer = {3}
spare_pages = 4
{4}
[[model]]
name = "{5}"
seed = {6}
layers = {7}
experts = {8}
top_k = {9}
hidden = {10}
intermediate = {11}
)",
                     folder, o.initial_ranks, o.coordinator + (o.proxied ? quick : ""), spec.shape.experts + 4, o.agent,
                     spec.name, spec.seed, spec.shape.layers, spec.shape.experts, spec.shape.top_k, spec.shape.hidden,
                     spec.shape.intermediate, o.proxied ? "proxy" : "coordinator");
}

template <class T>
T must_have(result<T> made) {
  if (!made) throw std::runtime_error(made.error().text);
  return std::move(*made);
}

}  // namespace

process_cluster::process_cluster(const cluster_options& options) : folder_(must_have(work_folder::open({}, "test"))) {
  const auto at = [&](const char* name) { return fmt::format("ipc://{}/{}", folder_.path(), name); };
  processes_ = std::make_unique<local_deployment>(
      must_have(local_deployment::open(folder_.path(), configuration(folder_.path(), options), built_program(""))));
  if (options.proxied)
    proxy_ = std::make_unique<control_proxy>(context_, at("proxy"), at("coordinator"), options.rewrite);
  if (!options.hold.empty()) proxy_->hold(options.hold);
  control_options co{at("coordinator"), at("events"), "operator"};
  co.deadline = 30s;
  control_ = must_have(control_client::connect(context_, co, [this](const event& news) { on_event(news); }));
  must(processes_->start_coordinator());
  for (std::size_t i = 0; i < options.agents; ++i) must(processes_->start_agent(agent(i)));
  serving_options so;
  so.coordinator = co.coordinator;
  so.events = co.events;
  so.book.progress_deadline = 250ms;
  so.book.patience = 2;
  traffic_ = std::make_unique<checked_traffic>(context_, so, std::vector{tiny_spec()});
}

process_cluster::~process_cluster() {
  if (testing::Test::HasFailure()) folder_.keep();  // its logs
  traffic_.reset();
  control_.reset();
  processes_->stop(5s);
}

std::string process_cluster::agent(std::size_t number) { return fmt::format("a{}", number); }

void process_cluster::on_event(const event& news) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  ++events_;
  told_.push_back(news.text);
  for (const auto& op : news.operation) phases_.try_emplace({op.id, op.phase}, now);
  news_.notify_all();
}

cluster_status process_cluster::status() {
  auto now = control_->get_status();
  EXPECT_TRUE(now) << (now ? "" : now.error().text);
  return now.value_or(cluster_status{});
}

seat_status process_cluster::seat_of(const std::string& agent) {
  for (auto& s : status().seats)
    if (s.agent == agent) return s;
  return {};
}

std::vector<std::string> process_cluster::agents_in(const std::string& state) {
  std::vector<std::string> out;
  for (const auto& s : status().seats)
    if (s.state == state) out.push_back(s.agent);
  std::ranges::sort(out);
  return out;
}

bool process_cluster::wait_until(const std::function<bool(const cluster_status&)>& holds,
                                 std::chrono::milliseconds longest) {
  const auto end = std::chrono::steady_clock::now() + longest;
  for (;;) {
    const auto seen = [&] {
      const std::lock_guard lock(mutex_);
      return events_;
    }();
    if (holds(status())) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    std::unique_lock lock(mutex_);
    news_.wait_for(lock, 100ms, [&] { return events_ != seen; });
  }
}

bool process_cluster::wait_idle() {
  return wait_until([](const cluster_status& s) {
    return std::ranges::none_of(s.operations, [](const auto& op) { return op.outcome == "running"; });
  });
}

std::optional<steady_time> process_cluster::wait_phase(operation_id newer_than, const std::string& phase) {
  std::unique_lock lock(mutex_);
  std::optional<steady_time> entered;
  news_.wait_for(lock, 30s, [&] {
    const auto is_it = [&](const auto& p) { return p.first.first > newer_than && p.first.second == phase; };
    const auto found = std::ranges::find_if(phases_, is_it);
    if (found != phases_.end()) entered = found->second;
    return entered.has_value();
  });
  return entered;
}

bool process_cluster::wait_told(const std::string& part) {
  std::unique_lock lock(mutex_);
  const auto has_it = [&](const std::string& text) { return text.find(part) != std::string::npos; };
  return news_.wait_for(lock, 60s, [&] { return std::ranges::any_of(told_, has_it); });
}

operation_id process_cluster::newest_operation() {
  operation_id newest = 0;
  for (const auto& op : status().operations) newest = std::max(newest, op.id);
  return newest;
}

std::optional<operation_status> process_cluster::operation(operation_id id) {
  for (const auto& op : status().operations)
    if (op.id == id) return op;
  return std::nullopt;
}

std::optional<operation_id> process_cluster::scale_to(const std::vector<std::string>& agents, bool join_first) {
  scale_request r;
  r.join_first = join_first;
  for (const auto& s : status().seats)
    if (std::ranges::find(agents, s.agent) != agents.end()) r.seats.push_back(s.seat);
  const auto id = control_->scale(r);
  EXPECT_TRUE(id) << (id ? "" : id.error().text);
  return id ? std::optional(*id) : std::nullopt;
}

bool process_cluster::settle(const std::vector<std::string>& agents) {
  const auto there = [&](const cluster_status& s) {
    return std::ranges::all_of(agents, [&](const std::string& agent) {
      return std::ranges::any_of(s.seats,
                                 [&](const auto& seat) { return seat.agent == agent && seat.state != "lost"; });
    });
  };
  // Asked for even where it is so already: after a loss the cluster may want to grow again, of its own accord. And more than
  // once: that may have begun meanwhile.
  for (int attempts = 5; attempts > 0; --attempts) {
    if (!wait_until(there) || !wait_idle()) return false;
    const auto id = scale_to(agents);
    if (!id || !control_->wait(*id, 60s) || !wait_idle()) return false;
    if (active() == agents) return true;
  }
  return false;
}

void process_cluster::start_agent(const std::string& agent) {
  const auto started = processes_->start_agent(agent);
  EXPECT_TRUE(started) << (started ? "" : started.error().text);
}

}  // namespace ballast::test
