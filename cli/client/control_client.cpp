#include "cli/client/control_client.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>

#include "cli/client/connecting.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;

bool is_over(const operation_status& op) { return op.outcome != "running" && !op.outcome.empty(); }

// Unique among all clients of one coordinator: the process, its start, a count over all clients of the process.
std::string draw_request_id() {
  static const auto started = std::chrono::system_clock::now().time_since_epoch().count();
  static std::atomic<std::uint64_t> drawn{0};
  return fmt::format("{}-{:x}-{}", ::getpid(), started, ++drawn);
}

constexpr std::size_t remembered_operations = 256;
constexpr std::chrono::milliseconds after_a_move{50};

}  // namespace

struct control_client::impl {
  control_options options;
  event_handler on_event;

  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::uint64_t next_id = 0;
  std::uint64_t moves = 0;                                    // to another coordinator
  std::map<std::uint64_t, std::optional<message_body>> open;  // requests under way, by message id
  std::map<operation_id, operation_status> seen;              // newest known state; the oldest are forgotten

  std::unique_ptr<link> events, control;  // last: their threads stop first

  bool several() const { return options.coordinator.find(',') != std::string::npos; }

  void remember(const operation_status& op) {
    seen[op.id] = op;
    if (seen.size() > remembered_operations) seen.erase(seen.begin());
  }

  void on_answer(envelope message) {
    const std::lock_guard lock(mutex);
    const auto at = open.find(message.id);
    if (at == open.end() || at->second.has_value()) return;
    if (std::holds_alternative<standby>(message.body) && several()) {
      ++moves;  // the link goes on to the next address
      return changed.notify_all();
    }
    at->second = std::move(message.body);
    changed.notify_all();
  }

  void on_news(const envelope& message) {
    const auto* news = std::get_if<event>(&message.body);
    if (news == nullptr) return;
    {
      const std::lock_guard lock(mutex);
      for (const auto& op : news->operation) remember(op);
      changed.notify_all();
    }
    if (on_event) on_event(*news);
  }

  // Sends until answered; the message id stays the same, so any answer will do.
  result<message_body> ask(const message_body& question) {
    std::unique_lock lock(mutex);
    const auto id = ++next_id;
    open[id].reset();
    const auto end = clock::now() + options.deadline;
    result<message_body> answer =
        fail(errc::unavailable, fmt::format("no answer from {} within {} ms; is the coordinator running there?",
                                            options.coordinator, options.deadline.count()));
    while (clock::now() < end) {
      lock.unlock();
      (void)control->send("", {id, options.name, question});  // a full queue: the next attempt
      lock.lock();
      const auto answered = [&] { return open[id].has_value(); };
      const auto sent = clock::now();
      const auto before = moves;
      changed.wait_until(lock, std::min(end, sent + options.attempt), [&] { return answered() || moves != before; });
      // Where nobody leads yet, it is not asked faster than that.
      if (!answered()) changed.wait_until(lock, std::min({end, sent + options.attempt, sent + after_a_move}), answered);
      if (!answered()) continue;
      answer = std::move(*open[id]);
      break;
    }
    open.erase(id);
    if (answer) {
      if (auto* no = std::get_if<refused>(&*answer)) return fail(no->failure);
      if (auto* idle = std::get_if<standby>(&*answer))
        return fail(errc::unavailable,
                    fmt::format("{} stands by{}{}; name every coordinator, with commas between", options.coordinator,
                                idle->leader.empty() ? "" : " for ", idle->leader));
    }
    return answer;
  }

  template <class Answer>
  result<Answer> ask_for(const message_body& question) {
    auto answer = ask(question);
    if (!answer) return fail(answer.error());
    if (auto* wanted = std::get_if<Answer>(&*answer)) return std::move(*wanted);
    return fail(errc::malformed, fmt::format("{} answered '{}' with '{}'", options.coordinator, message_name(question),
                                             message_name(*answer)));
  }

  // The operation's newest state: told by an event if it differs from `known`, else asked for.
  result<operation_status> newest(operation_id id, const std::optional<operation_status>& known,
                                  clock::time_point end) {
    {
      std::unique_lock lock(mutex);
      const auto until = std::min(end, clock::now() + options.poll);
      const auto told = [&] { return seen.contains(id) && (!known || seen[id] != *known); };
      if (changed.wait_until(lock, until, told)) return seen[id];
    }
    auto answer = ask_for<operation_list>(get_operations{});
    if (!answer) return fail(answer.error());
    for (const auto& op : answer->operations) {
      if (op.id == id) return op;
    }
    return fail(errc::not_found, fmt::format("operation {} is not known to {}", id, options.coordinator));
  }
};

control_client::control_client(std::unique_ptr<impl> made) : impl_(std::move(made)) {}
control_client::~control_client() = default;

result<std::unique_ptr<control_client>> control_client::connect(link_context& context, control_options options,
                                                                event_handler on_event) {
  auto made = std::make_unique<impl>();
  made->options = options;
  made->on_event = std::move(on_event);
  auto* raw = made.get();
  if (!options.events.empty()) {
    auto opened = link::open(context, connecting(link_kind::subscriber, options.events, options.name),
                             [raw](const std::string&, const envelope& message) { raw->on_news(message); });
    if (!opened) return fail(opened.error());
    made->events = std::move(*opened);
  }
  auto opened = link::open(context, connecting(link_kind::dealer, options.coordinator, options.name),
                           [raw](const std::string&, envelope message) { raw->on_answer(std::move(message)); });
  if (!opened) return fail(opened.error());
  made->control = std::move(*opened);
  return std::unique_ptr<control_client>(new control_client(std::move(made)));
}

result<cluster_status> control_client::get_status() { return impl_->ask_for<cluster_status>(ballast::get_status{}); }

result<std::vector<operation_status>> control_client::operations() {
  auto answer = impl_->ask_for<operation_list>(get_operations{});
  if (!answer) return fail(answer.error());
  return std::move(answer->operations);
}

result<operation_id> control_client::scale(scale_request request) {
  if (request.request.empty()) request.request = draw_request_id();
  auto answer = impl_->ask_for<accepted>(request);
  if (!answer) return fail(answer.error());
  return answer->operation;
}

result<operation_id> control_client::rebalance(rebalance_request request) {
  request.dry_run = false;
  if (request.request.empty()) request.request = draw_request_id();
  auto answer = impl_->ask_for<accepted>(request);
  if (!answer) return fail(answer.error());
  return answer->operation;
}

result<rebalance_preview> control_client::preview(rebalance_request request) {
  request.dry_run = true;
  if (request.request.empty()) request.request = draw_request_id();
  return impl_->ask_for<rebalance_preview>(request);
}

status control_client::abort(operation_id id) {
  auto answer = impl_->ask_for<accepted>(abort_request{id});
  if (!answer) return fail(answer.error());
  return {};
}

result<operation_status> control_client::wait(operation_id id, std::chrono::milliseconds deadline,
                                              const progress_handler& on_progress) {
  const auto end = clock::now() + deadline;
  std::optional<operation_status> known;
  for (;;) {
    auto now = impl_->newest(id, known, end);
    if (!now && (now.error().code != errc::unavailable || clock::now() >= end)) return fail(now.error());
    if (now) {
      if (on_progress && (!known || *known != *now)) on_progress(*now);
      if (is_over(*now)) return now;
      known = std::move(*now);
    }
    if (clock::now() >= end) {
      return fail(errc::timed_out, fmt::format("operation {} is still '{}' after {} ms; it goes on", id,
                                               known ? known->phase : "unknown", deadline.count()));
    }
  }
}

}  // namespace ballast
