// `ballast serve`: coordinator and ranks in one process, the very same services that ballast-coordinator and
// ballast-agent run, with tokens and weights over inproc.
#include <fmt/core.h>
#include <unistd.h>

#include <ostream>

#include "agent/agent.hpp"
#include "cli/render/render.hpp"
#include "cli/signals.hpp"
#include "cli/verbs/verbs.hpp"
#include "coordinator/service.hpp"
#include "messages/freed_memory.hpp"
#include "messages/log.hpp"

namespace ballast::verbs {
namespace {

struct deployment {
  coordinator_config coordinator;
  agent_config agent;
};

result<deployment> read(const serve_options& options) {
  auto coordinator = read_coordinator_config(options.config);
  if (!coordinator) return fail(coordinator.error());
  auto agent = read_agent_config(options.config);
  if (!agent) return fail(agent.error());
  deployment d{std::move(*coordinator), std::move(*agent)};
  if (!options.listen.empty()) d.coordinator.bind = options.listen;
  if (!options.events.empty()) d.coordinator.events = options.events;
  if (!options.front_end.empty()) d.agent.front_end = options.front_end;
  if (options.ranks != 0) d.agent.ranks = d.coordinator.initial_ranks = options.ranks;
  // Everything is in one process: tokens and weights need no file and no port.
  if (d.agent.data == agent_config{}.data) d.agent.data = fmt::format("inproc://ballast-{}-*", ::getpid());
  if (d.agent.name.empty()) d.agent.name = "embedded";
  if (d.agent.ranks < d.coordinator.initial_ranks) {
    return fail(errc::does_not_fit,
                fmt::format("{}: initial_ranks is {} but this process has {} ranks; raise [agent] ranks or lower it",
                            options.config, d.coordinator.initial_ranks, d.agent.ranks));
  }
  return d;
}

// The ranks that start must hold every expert; what is refused here would otherwise wait for seats for ever.
status check_sizes(const deployment& d) {
  for (std::size_t m = 0; m < d.agent.models.size(); ++m) {
    const auto source = open_model(d.agent.models[m]);
    if (!source) return fail(source.error());
    const auto experts = (*source)->shape().experts;
    const auto slots = m < d.agent.capacity.size() ? d.agent.capacity[m].slots_per_layer : 0;
    const auto held = std::uint64_t{slots} * d.coordinator.initial_ranks;
    if (slots == 0 || held >= experts) continue;  // 0: as many as the model has experts
    return fail(errc::does_not_fit,
                fmt::format("model {}: {} ranks of {} slots a layer hold {} experts, but it has {}; raise "
                            "slots_per_layer or initial_ranks",
                            d.agent.models[m].name, d.coordinator.initial_ranks, slots, held, experts));
  }
  return {};
}

}  // namespace

status serve(const common_options& common, const serve_options& options, std::ostream& out) {
  stop_signal stop;  // before the services' threads
  auto read_in = read(options);
  if (!read_in) return fail(read_in.error());
  if (auto fits = check_sizes(*read_in); !fits) return fits;
  link_context context;
  if (auto safe = context.secure(read_in->coordinator.security); !safe) return safe;
  auto service = coordinator_service::start(context, read_in->coordinator);
  if (!service) return fail(service.error());
  read_in->agent.coordinator = (*service)->address();
  auto ranks = agent::start(context, read_in->agent);
  if (!ranks) return fail(ranks.error());
  if (common.json) {
    out << fmt::format("{{\"coordinator\":{},\"events\":{},\"front_end\":{},\"ranks\":{}}}\n",
                       json::quoted((*service)->address()), json::quoted((*service)->events_address()),
                       json::quoted((*ranks)->front_end()), read_in->agent.ranks);
  } else {
    out << fmt::format("serving: coordinator {}, events {}, clients {}, {} ranks\n", (*service)->address(),
                       (*service)->events_address(), (*ranks)->front_end(), read_in->agent.ranks);
  }
  out << std::flush;
  freed_memory freed;
  while (!stop.wait(std::chrono::milliseconds(500))) {
    if (auto verdict = (*ranks)->verdict(); !verdict) return fail(verdict.error());
    freed.tick();
  }
  (*ranks)->stop();
  (*service)->stop();
  return {};
}

}  // namespace ballast::verbs
