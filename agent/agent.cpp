#include "agent/agent.hpp"

#include <fmt/core.h>

#include <mutex>
#include <random>

#include "agent/actors_impl.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

// "sharing": the default scheduler strands messages of an actor that goes on working.
struct system_config : caf::actor_system_config {
  system_config() {
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", 2);
  }
};

std::uint64_t draw_process_number() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

}  // namespace

// Declared in the order in which things may be used: what stands first is destroyed last.
struct agent::impl {
  impl(link_context& c, agent_config cfg) : context(c), config(std::move(cfg)) {}

  status open_models();
  status open_ranks();
  status open_front_end();
  status open_link();
  hello greeting() const;
  status begin();
  void send(message_body body);
  void stop();

  link_context& context;
  const agent_config config;
  std::vector<std::unique_ptr<model_source>> models;
  std::unique_ptr<gpu::backend> backend;
  std::vector<std::unique_ptr<rank_unit>> units;
  std::unique_ptr<ballast::front_end> clients;

  std::mutex mutex;  // guards uplink, node and verdict
  std::unique_ptr<link> uplink;
  result<void> verdict;

  system_config caf_config;
  std::unique_ptr<caf::actor_system> system;
  std::vector<rank_actor> ranks;
  node_actor node;
  bool stopped = false;
};

status agent::impl::open_models() {
  if (config.models.empty()) return fail(errc::invalid_argument, "an agent needs a model; add a [[model]] table");
  if (config.models.size() > max_models)
    return fail(errc::does_not_fit,
                fmt::format("{} models; a deployment holds at most {}", config.models.size(), max_models));
  for (const auto& spec : config.models) {
    auto opened = open_model(spec);
    if (!opened) return fail(opened.error());
    models.push_back(std::move(*opened));
  }
  return {};
}

status agent::impl::open_ranks() {
  auto loaded = gpu::load_backend(config.backend);
  if (!loaded) return fail(loaded.error());
  backend = std::move(*loaded);
  forward_loop::settings loop_settings{{}, config.max_batch_tokens, 8};
  gpu::device_options options;
  options.bind = config.data;
  options.first_gpu = config.first_gpu;
  options.limits.verify_pages = config.verify_pages;
  options.exchange = config.exchange;
  options.nccl_ctas = config.nccl_ctas;
  options.limits.max_members = config.max_members;
  options.limits.max_batch_tokens = config.max_batch_tokens;
  options.limits.collective_timeout = std::chrono::milliseconds(config.collective_timeout_ms);
  options.limits.pull_bytes_per_s = static_cast<std::uint64_t>(config.transfer_gbps * 1e9);
  options.link_context = context.native();
  options.guard.prepare = [this](void* socket, const std::string& address, bool bind) {
    return context.prepare_data(socket, address, bind);
  };
  options.guard.announced = [this](const std::string& bound) { return context.announced(bound); };
  for (model_index m = 0; m < models.size(); ++m) {
    auto capacity = m < config.capacity.size() ? config.capacity[m] : model_capacity{};
    if (capacity.slots_per_layer == 0) capacity.slots_per_layer = models[m]->shape().experts;
    if (capacity.spare_pages == 0)
      return fail(errc::does_not_fit,
                  fmt::format("model `{}`: spare_pages is 0; one spare page is the least that lets an expert move",
                              models[m]->name()));
    options.models.push_back(models[m]->shape());
    options.limits.models.push_back(capacity);
    loop_settings.models.push_back(models[m]->shape());
  }
  system = std::make_unique<caf::actor_system>(caf_config);
  for (std::uint32_t r = 0; r < config.ranks; ++r) {
    auto unit = std::make_unique<rank_unit>();
    unit->local_rank = options.local_rank = r;
    unit->deadline = options.limits.collective_timeout;
    auto device = backend->make_device(options);
    if (!device) return fail(device.error());
    unit->device = std::move(*device);
    unit->models = &models;
    unit->clients = clients.get();
    unit->uplink = [this](message_body body) { send(std::move(body)); };
    ranks.push_back(spawn_rank(*system, *unit));
    unit->loop = std::make_unique<forward_loop>(*unit->device, loop_settings, listener_for(ranks.back(), *clients));
    units.push_back(std::move(unit));
  }
  return {};
}

status agent::impl::open_front_end() {
  ballast::front_end::options options;
  options.address = config.front_end;
  options.advertise = config.advertise;
  options.name = config.name;
  options.max_batch_tokens = config.max_batch_tokens;
  options.session_bytes = config.session_bytes;
  options.client_bytes = config.client_session_bytes;
  for (const auto& m : models) options.models.push_back({m->name(), m->shape().hidden});
  std::vector<ballast::front_end::rank_port> ports;
  for (std::uint32_t r = 0; r < config.ranks; ++r)  // a rank accepts nothing before it serves, so units[r] is there
    ports.push_back({[this, r](session s) { units[r]->loop->post(loop_item::add_session{std::move(s)}); },
                     [this, r](std::string id) { units[r]->loop->post(loop_item::cancel_session{std::move(id)}); }});
  auto opened = ballast::front_end::open(context, options, std::move(ports));
  if (!opened) return fail(opened.error());
  clients = std::move(*opened);
  return {};
}

hello agent::impl::greeting() const {
  hello h{config.node, config.name, draw_process_number(), clients->address(), {}, {}};
  for (const auto& m : models) {
    const auto& shape = m->shape();
    h.models.push_back({m->name(), m->fingerprint(), shape.layers, shape.experts, shape.groups,
                        gpu::expert_layout(shape).bytes, shape.hidden});
  }
  for (const auto& unit : units) {
    seat_capacity capacity{{}, config.max_batch_tokens, config.session_bytes};
    for (model_index m = 0; m < models.size(); ++m) {
      const auto spare = config.capacity.size() > m ? config.capacity[m].spare_pages : 0;
      const auto pages = unit->device->pages(m).capacity();
      capacity.models.push_back({(pages - spare) / models[m]->shape().layers, spare});
    }
    h.ranks.push_back({unit->local_rank, unit->device->transport().address(), std::move(capacity), 1.0});
  }
  return h;
}

status agent::impl::open_link() {
  link_options options;
  options.address = config.coordinator;
  // Routes follow identities: nobody else may guess this one and be sent what is meant for this agent.
  options.identity = fmt::format("agent:{}:{:016x}", config.name, draw_process_number());
  options.announce = true;
  options.name = config.name;
  auto opened = link::open(context, options, [this](const std::string&, envelope message) {
    std::lock_guard lock(mutex);
    if (node) caf::anon_send(node, node_note{std::make_shared<const envelope>(std::move(message))});
  });
  if (!opened) return fail(opened.error());
  std::lock_guard lock(mutex);
  uplink = std::move(*opened);
  return {};
}

status agent::impl::begin() {
  if (config.name.empty()) return fail(errc::invalid_argument, "an agent needs a name, unique in the deployment");
  if (config.ranks == 0) return fail(errc::invalid_argument, "an agent needs at least one rank");
  for (const auto step : {&impl::open_models, &impl::open_front_end, &impl::open_ranks, &impl::open_link})
    if (auto done = (this->*step)(); !done) return done;
  node_setup setup;
  setup.greeting = greeting();
  for (const auto& unit : units) setup.units.push_back(unit.get());
  setup.ranks = ranks;
  setup.clients = clients.get();
  setup.uplink = [this](message_body body) { send(std::move(body)); };
  setup.on_refused = [this](error why) {
    std::lock_guard lock(mutex);
    verdict = fail(std::move(why));
  };
  auto spawned = spawn_node(*system, std::move(setup));
  std::lock_guard lock(mutex);
  node = std::move(spawned);
  return {};
}

void agent::impl::send(message_body body) {
  std::lock_guard lock(mutex);
  // A full queue: the coordinator is away. Commands are repeated until answered, beats and summaries are renewed.
  if (uplink) (void)uplink->send("", envelope{0, config.name, std::move(body)});
}

void agent::impl::stop() {
  if (std::exchange(stopped, true)) return;
  {
    std::lock_guard lock(mutex);
    if (node) caf::anon_send_exit(node, caf::exit_reason::user_shutdown);
    node = nullptr;
  }
  if (clients) clients->stop();
  for (const auto& rank : ranks) {
    caf::anon_send(rank, unseated{});  // wakes whatever its workers wait for
    caf::anon_send_exit(rank, caf::exit_reason::user_shutdown);
  }
  if (system) system->await_all_actors_done();
  for (const auto& unit : units)
    if (unit->loop) unit->loop->stop();
  std::unique_ptr<link> last;
  {
    std::lock_guard lock(mutex);
    last.swap(uplink);
  }
  if (last) last->stop();  // outside the lock: its thread may be waiting for it
  ranks.clear();
  for (const auto& unit : units) unit->loop.reset();  // its listener holds a rank's handle
  system.reset();
}

agent::agent(std::unique_ptr<impl> made) : impl_(std::move(made)) {}
agent::~agent() { stop(); }

result<std::unique_ptr<agent>> agent::start(link_context& context, agent_config config) {
  auto self = std::unique_ptr<agent>(new agent(std::make_unique<impl>(context, std::move(config))));
  if (auto begun = self->impl_->begin(); !begun) return fail(begun.error());
  return self;
}

const std::string& agent::front_end() const noexcept { return impl_->clients->address(); }

result<void> agent::verdict() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->verdict;
}

void agent::stop() { impl_->stop(); }

}  // namespace ballast
