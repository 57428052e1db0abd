// ballast-agent: a node's ranks, as a process of their own.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "agent/agent.hpp"
#include "messages/freed_memory.hpp"
#include "messages/log.hpp"

namespace {

int complain(const ballast::error& e) {
  std::fprintf(stderr, "ballast-agent: %s\n", e.text.c_str());
  return 1;
}

// Waits for SIGINT or SIGTERM, or until the coordinator refuses the agent for good.
int wait_for_the_end(const ballast::agent& agent, const sigset_t& signals) {
  const timespec look_again{0, 200'000'000};
  ballast::freed_memory freed;
  while (::sigtimedwait(&signals, nullptr, &look_again) < 0) {
    if (const auto verdict = agent.verdict(); !verdict) return complain(verdict.error());
    freed.tick();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Serves the ranks of one node", "ballast-agent"};
  std::string config_path, name, coordinator, node;
  bool verbose = false;
  app.add_option("--config", config_path, "deployment file (TOML): [agent] and [[model]]")->required();
  app.add_option("--name", name, "overrides [agent] name; unique in the deployment");
  app.add_option("--node", node, "overrides [agent] node");
  app.add_option("--coordinator", coordinator, "overrides [agent] coordinator, the control gateway's address");
  app.add_flag("--verbose", verbose, "log every command");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return e.get_exit_code() == 0 ? app.exit(e) : (app.exit(e), 2);
  }

  // Before any thread starts, so that all of them leave these signals to us.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  auto config = ballast::read_agent_config(config_path);
  if (!config) return complain(config.error());
  if (!name.empty()) config->name = name;
  if (!node.empty()) config->node = node;
  if (!coordinator.empty()) config->coordinator = coordinator;
  ballast::log::set_process_name(config->name);
  if (verbose) ballast::log::set_level(ballast::log::level::debug);

  ballast::link_context context;
  if (auto safe = context.secure(config->security); !safe) return complain(safe.error());
  auto agent = ballast::agent::start(context, *config);
  if (!agent) return complain(agent.error());
  std::printf("ballast-agent %s ready: clients at %s, %u rank%s\n", config->name.c_str(), (*agent)->front_end().c_str(),
              config->ranks, config->ranks == 1 ? "" : "s");
  std::fflush(stdout);
  const int code = wait_for_the_end(**agent, signals);
  (*agent)->stop();
  return code;
}
