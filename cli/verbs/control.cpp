// The operator's verbs: each is one question to the coordinator, and perhaps a wait.
#include <fmt/core.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <ostream>

#include "cli/client/control_client.hpp"
#include "cli/render/render.hpp"
#include "cli/signals.hpp"
#include "cli/verbs/verbs.hpp"

namespace ballast::verbs {
namespace {

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::milliseconds(static_cast<long>(seconds * 1e3));
}

// A connection for the length of one verb.
struct session {
  link_context context;
  std::unique_ptr<control_client> client;

  static result<std::unique_ptr<session>> open(const common_options& common,
                                               control_client::event_handler on_event = {}) {
    auto made = std::make_unique<session>();
    if (auto safe = secure(made->context, common); !safe) return fail(safe.error());
    control_options options;
    options.coordinator = common.coordinator;
    options.events = common.events;
    options.deadline = milliseconds_of(common.timeout_s);
    auto client = control_client::connect(made->context, options, std::move(on_event));
    if (!client) return fail(client.error());
    made->client = std::move(*client);
    return made;
  }
};

template <class T>
status print(const common_options& common, const result<T>& answer, std::ostream& out) {
  if (!answer) return fail(answer.error());
  out << (common.json ? json::of(*answer) + "\n" : text::of(*answer));
  return {};
}

// Waits for the operation unless told not to; progress goes to the terminal line by line, never into the JSON.
status follow(session& s, const common_options& common, const result<operation_id>& id, bool wait, double deadline_s,
              std::ostream& out) {
  if (!id) return fail(id.error());
  if (!wait) {
    out << (common.json ? json::accepted(*id) + "\n" : fmt::format("operation {} accepted\n", *id));
    return {};
  }
  std::string phase;
  auto over = s.client->wait(*id, milliseconds_of(deadline_s), [&](const operation_status& now) {
    if (!common.json && now.outcome == "running" && now.phase != phase) out << text::of(now) << std::flush;
    phase = now.phase;
  });
  if (!over) return fail(over.error());
  if (over->outcome != "done") {
    return fail(errc::aborted, fmt::format("operation {} {}: {}", over->id, over->outcome, over->reason));
  }
  return print(common, over, out);
}

}  // namespace

status show_status(const common_options& common, std::ostream& out) {
  auto s = session::open(common);
  if (!s) return fail(s.error());
  return print(common, (*s)->client->get_status(), out);
}

status list_operations(const common_options& common, std::ostream& out) {
  auto s = session::open(common);
  if (!s) return fail(s.error());
  return print(common, (*s)->client->operations(), out);
}

status scale(const common_options& common, const scale_options& options, std::ostream& out) {
  auto s = session::open(common);
  if (!s) return fail(s.error());
  scale_request request;
  request.ranks = options.ranks;
  for (const auto seat : options.seats) request.seats.push_back(seat_id{seat});
  request.join_first = options.join_first;
  return follow(**s, common, (*s)->client->scale(request), options.wait, options.deadline_s, out);
}

status rebalance(const common_options& common, const rebalance_options& options, std::ostream& out) {
  auto s = session::open(common);
  if (!s) return fail(s.error());
  rebalance_request request;
  request.model = options.model;
  request.force = options.force;
  if (options.dry_run) return print(common, (*s)->client->preview(request), out);
  return follow(**s, common, (*s)->client->rebalance(request), options.wait, options.deadline_s, out);
}

status abort(const common_options& common, operation_id id, std::ostream& out) {
  auto s = session::open(common);
  if (!s) return fail(s.error());
  if (auto done = (*s)->client->abort(id); !done) return done;
  out << (common.json ? json::accepted(id) + "\n" : fmt::format("operation {} is being aborted\n", id));
  return {};
}

status watch(const common_options& common, const watch_options& options, std::ostream& out) {
  stop_signal stop;
  constexpr std::size_t queue_limit = 4096;  // beyond it the newest are dropped; `sequence` shows the gap
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<event> queue;
  auto s = session::open(common, [&](const event& news) {
    const std::lock_guard lock(mutex);
    if (queue.size() < queue_limit) queue.push_back(news);
    arrived.notify_one();
  });
  if (!s) return fail(s.error());
  // A wrong address would only ever be silent; the coordinator's answer tells that somebody is there.
  if (auto there = (*s)->client->get_status(); !there) return fail(there.error());
  const auto end = std::chrono::steady_clock::now() + milliseconds_of(options.seconds);
  std::uint64_t shown = 0;
  while (!stop.raised() && (options.count == 0 || shown < options.count)) {
    std::unique_lock lock(mutex);
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);  // to look for a signal
    if (!arrived.wait_until(lock, options.seconds > 0 ? std::min(end, until) : until, [&] { return !queue.empty(); })) {
      if (options.seconds > 0 && std::chrono::steady_clock::now() >= end) break;
      continue;
    }
    const event news = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    out << (common.json ? json::of(news) + "\n" : text::of(news)) << std::flush;
    ++shown;
  }
  return {};
}

}  // namespace ballast::verbs
