#include "coordinator/service.hpp"

#include <algorithm>
#include <mutex>
#include <thread>

#include "coordinator/actors_impl.hpp"
#include "coordinator/config.hpp"
#include "coordinator/open_store.hpp"
#include "coordinator/read_start.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

struct actor_config : caf::actor_system_config {
  actor_config() {
    set("scheduler.policy", caf::atom("sharing"));  // the default strands messages behind a blocked worker
    set("scheduler.max-threads", 2u);
  }
};

}  // namespace

// Destroyed from the last member to the first: handles and links before the actor system.
struct coordinator_service::impl {
  actor_config settings;
  std::shared_ptr<coordinator_ports> ports = std::make_shared<coordinator_ports>();
  std::optional<caf::actor_system> system;
  std::unique_ptr<link> events;
  std::unique_ptr<link> gateway;
  std::shared_ptr<std::atomic<bool>> open = std::make_shared<std::atomic<bool>>(false);
  coordinator_actor actor;
  std::once_flag stopped;

  status open_links(link_context& context, const coordinator_config& config);
  refusal_counts refusals(const link_context& context) const;
  void stop();
};

// Whoever watches events connects to the coordinator, too.
refusal_counts coordinator_service::impl::refusals(const link_context& context) const {
  auto all = gateway->counters();
  const auto watchers = events->counters();
  all.handshake += watchers.handshake;
  all.unfinished += watchers.unfinished;
  all.cut_off += watchers.cut_off;
  return refusals_of(all, context);
}

status coordinator_service::impl::open_links(link_context& context, const coordinator_config& config) {
  link_options out;
  out.kind = link_kind::publisher;
  out.address = config.events;
  out.bind = true;
  out.name = "coordinator";
  auto published = link::open(context, out, [](const std::string&, envelope) {});
  if (!published) return fail(published.error());
  events = std::move(*published);
  link_options in = out;
  in.kind = link_kind::router;
  in.address = config.bind;
  in.admits = coordinator_admits;
  // Both are called by the link's thread alone.
  const auto give = [to = actor, taken = ports](cluster::input_body what) {
    taken->waiting.fetch_add(1, std::memory_order_relaxed);
    caf::anon_send(to, std::make_shared<const cluster::input_body>(std::move(what)));
  };
  const auto has_room = [taken = ports, ready = open] {
    return ready->load(std::memory_order_acquire) &&
           taken->waiting.load(std::memory_order_relaxed) < coordinator_ports::max_waiting;
  };
  // An end that finds no room shows by missing heartbeats; a beginning always gets in, or its agent would be taken for
  // ended. There is one for each connection, and connections are bounded by what the process may open.
  in.on_connection = [give, has_room, ready = open](const std::string& peer, bool begun) {
    if (has_room() || (begun && ready->load(std::memory_order_acquire))) give(cluster::input::connection{peer, begun});
  };
  auto bound = link::open(context, in, [give, has_room, taken = ports](const std::string& peer, envelope message) {
    if (!has_room()) return;
    if (const auto place = taken->of_peers.enter(peer); place != waiting_room::place::taken) {
      if (place == waiting_room::place::full_now)
        log::warn("coordinator: one peer sends faster than can be looked at; what it sends is dropped meanwhile");
      return;
    }
    give(cluster::input::message{peer, std::move(message)});
  });
  if (!bound) return fail(bound.error());
  gateway = std::move(*bound);
  return {};
}

void coordinator_service::impl::stop() {
  std::call_once(stopped, [this] {
    open->store(false, std::memory_order_release);
    if (actor) caf::anon_send<caf::message_priority::high>(actor, stop_atom::value);
    if (system) system->await_all_actors_done();
    if (gateway) gateway->stop();
    if (events) events->stop();
    actor = nullptr;
  });
}

namespace {

// The other half is for whoever serves on the same host.
std::uint32_t planner_threads() {
  constexpr std::uint32_t most_of_use = 8;
  return std::clamp(std::thread::hardware_concurrency() / 2, 1u, most_of_use);
}

// What the store holds, and the state that it is.
result<std::shared_ptr<beginning>> begin_from(std::shared_ptr<store> kept, const coordinator_config& config) {
  auto saved = kept->load();
  if (!saved) return fail(saved.error());
  auto state = cluster::restore(*saved, config);
  if (!state) return fail(state.error());
  if (!config.read_stats.empty()) {
    auto recorded = read_start(config.read_stats);
    if (!recorded) return fail(recorded.error());
    state->start = std::move(*recorded);
  }
  if (!saved->empty())
    log::info("coordinator: goes on from {} with {} seats, {} of them serving{}",
              config.store.empty() ? "its store" : config.store, state->seats.size(), state->members.size(),
              state->running ? fmt::format("; under way: {}", cluster::to_string(state->running->what.kind)) : "");
  return std::make_shared<beginning>(beginning{std::move(kept), std::move(*saved), std::move(*state)});
}

}  // namespace

result<std::unique_ptr<coordinator_service>> coordinator_service::start(link_context& context,
                                                                        coordinator_config config) {
  if (auto ok = check_config(config); !ok) return fail(ok.error());
  if (is_replicated(config.store))
    return fail(errc::invalid_argument,
                fmt::format("store = {}: its coordinators are processes of their own; run ballast-coordinator, or keep "
                            "the state in a file (sqlite://FILE)",
                            config.store));
  auto kept = open_store(config.store);
  if (!kept) return fail(kept.error());
  return start(context, std::move(config), std::move(*kept));
}

result<std::unique_ptr<coordinator_service>> coordinator_service::start(link_context& context,
                                                                        coordinator_config config,
                                                                        std::shared_ptr<store> kept) {
  if (auto ok = check_config(config); !ok) return fail(ok.error());
  if (!config.record_stats.empty())
    if (auto ok = check_recording(config.record_stats); !ok) return fail(ok.error());
  if (config.planner_threads == 0) config.planner_threads = planner_threads();
  auto from = begin_from(kept, config);
  if (!from) return fail(from.error());
  auto made = std::make_unique<impl>();
  made->ports = std::make_shared<coordinator_ports>(context.security().limits.waiting);
  made->ports->term = kept->term();
  // Its actor lets go of the store when it stops.
  made->ports->held = [weak = std::weak_ptr(std::exchange(kept, nullptr))] {
    const auto still = weak.lock();
    return still ? still->held() : possession::lost;
  };
  made->system.emplace(made->settings);
  // The links exist before anything is sent: the actor only answers messages and ticks, and gets none before `open`.
  auto* raw = made.get();
  made->ports->send = [raw](const std::string& peer, const envelope& m) { return raw->gateway->send(peer, m); };
  made->ports->refused = [raw, &context] { return raw->refusals(context); };
  made->ports->publish = [raw](const envelope& m) { return raw->events->send({}, m); };
  made->actor = made->system->spawn(coordinator, std::move(*from), made->ports);
  if (auto ok = made->open_links(context, config); !ok) {
    made->stop();
    return fail(ok.error());
  }
  made->open->store(true, std::memory_order_release);
  caf::anon_send(made->actor, tick_atom::value);
  return std::unique_ptr<coordinator_service>(new coordinator_service(std::move(made)));
}

coordinator_service::coordinator_service(std::unique_ptr<impl> made) : impl_(std::move(made)) {}
coordinator_service::~coordinator_service() { stop(); }
const std::string& coordinator_service::address() const noexcept { return impl_->gateway->address(); }
const std::string& coordinator_service::events_address() const noexcept { return impl_->events->address(); }
possession coordinator_service::held() const noexcept { return impl_->ports->held(); }
void coordinator_service::stop() { impl_->stop(); }

}  // namespace ballast
