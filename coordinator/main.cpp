// ballast-coordinator: the coordinator as a program of its own.
#include <pthread.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "coordinator/await_lead.hpp"
#include "coordinator/open_store.hpp"
#include "coordinator/service.hpp"
#include "messages/freed_memory.hpp"
#include "messages/log.hpp"

namespace {

// Blocked in every thread (children inherit the mask) and taken by sigwait() in main: no handler runs anywhere.
sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

bool stopped_within(const sigset_t& signals, std::chrono::milliseconds longest) {
  const timespec wait{longest.count() / 1000, longest.count() % 1000 * 1'000'000};
  return ::sigtimedwait(&signals, nullptr, &wait) > 0;
}

using kept_store = std::shared_ptr<ballast::store>;

// The store, once it is this process's; null: asked to end before.
ballast::result<kept_store> own_store(ballast::link_context& context, const ballast::coordinator_config& config,
                                      const sigset_t& signals) {
  if (ballast::is_replicated(config.store))
    return ballast::await_lead(context, config, [&](auto longest) { return stopped_within(signals, longest); });
  return ballast::open_store(config.store).map([](auto opened) { return kept_store(std::move(opened)); });
}

// Serves while the store is this process's. True: asked to end.
ballast::result<bool> serve(ballast::link_context& context, const ballast::coordinator_config& config, kept_store kept,
                            const sigset_t& signals) {
  auto service = ballast::coordinator_service::start(context, config, std::move(kept));
  if (!service) return ballast::fail(service.error());
  std::printf("ready: control %s events %s\n", (*service)->address().c_str(), (*service)->events_address().c_str());
  std::fflush(stdout);
  bool ending = false, ours = true;
  ballast::freed_memory freed;
  while (!ending && ours) {
    ending = stopped_within(signals, std::chrono::milliseconds(200));
    ours = (*service)->held() != ballast::possession::lost;
    freed.tick();
  }
  if (ending)
    ballast::log::info("stopping");
  else
    ballast::log::warn("the lead is lost; waits to lead again");
  (*service)->stop();
  return ending;
}

// An agent that is connected to one of several coordinators may have to try another one before it is back.
constexpr std::uint32_t least_grace_ms = 250;

int complain(const ballast::error& e) {
  std::fprintf(stderr, "ballast-coordinator: %s\n", e.text.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Ballast's coordinator: places experts, balances load and changes the number of ranks while serving"};
  std::string file, bind, events, store;
  std::uint32_t initial_ranks = 0;
  bool verbose = false;
  app.add_option("--config", file, "deployment file; its [coordinator] table is read")->check(CLI::ExistingFile);
  app.add_option("--bind", bind, "control gateway, e.g. tcp://0.0.0.0:7070");
  app.add_option("--events", events, "where events are published");
  app.add_option("--store", store,
                 "where the state is kept: sqlite://FILE (default: sqlite://ballast-state.db), memory, or "
                 "etcd://HOST:PORT[,HOST:PORT...][/PREFIX], where several coordinators lead in turn");
  app.add_option("--initial-ranks", initial_ranks, "seats to activate as soon as so many have joined")
      ->check(CLI::Range(1, 4096));
  app.add_flag("--verbose", verbose, "log debug lines too");
  CLI11_PARSE(app, argc, argv);

  ballast::log::set_process_name("coordinator");
  if (verbose) ballast::log::set_level(ballast::log::level::debug);
  ballast::coordinator_config config;
  if (!file.empty()) {
    auto read = ballast::read_coordinator_config(file);
    if (!read) return complain(read.error());
    config = *read;
  }
  if (!bind.empty()) config.bind = bind;
  if (!events.empty()) config.events = events;
  if (!store.empty()) config.store = store;
  if (config.store.empty()) config.store = "sqlite://ballast-state.db";
  if (initial_ranks != 0) config.initial_ranks = initial_ranks;

  if (ballast::is_replicated(config.store)) config.exit_grace_ms = std::max(config.exit_grace_ms, least_grace_ms);

  const sigset_t signals = stop_signals();
  ballast::link_context context;
  if (auto safe = context.secure(config.security); !safe) return complain(safe.error());
  for (;;) {
    auto kept = own_store(context, config, signals);
    if (!kept) return complain(kept.error());
    if (!*kept) return 0;
    const auto ended = serve(context, config, std::move(*kept), signals);
    if (!ended) return complain(ended.error());
    if (*ended) return 0;
  }
}
