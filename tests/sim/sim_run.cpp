// sim_run: runs schedules of the cluster simulator by hand, and replays one with its trace.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "tests/sim/sim_cluster.hpp"

namespace {

void print_failure(std::uint64_t seed, const ballast::sim::outcome& o) {
  for (const auto& line : o.lines) fmt::print("{}\n", line);
  fmt::print("seed {} FAILED: {}\n", seed, o.fault);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs seeded schedules of the whole cluster in virtual time"};
  std::uint64_t seed = 0;
  std::string range;
  bool verbose = false;
  std::uint32_t failures_most = 1;
  app.add_option("--seed", seed, "one schedule");
  app.add_option("--seeds", range, "A..B, both included");
  app.add_option("--failures", failures_most, "stop after so many failing seeds");
  app.add_flag("--verbose", verbose, "print the trace of a passing schedule too");
  CLI11_PARSE(app, argc, argv);

  std::uint64_t first = seed, last = seed;
  if (!range.empty()) {
    const auto dots = range.find("..");
    if (dots == std::string::npos) return fmt::print(stderr, "sim_run: --seeds wants A..B, not `{}`\n", range), 2;
    first = std::stoull(range.substr(0, dots));
    last = std::stoull(range.substr(dots + 2));
  }
  const auto began = std::chrono::steady_clock::now();
  std::uint64_t events = 0, steps = 0, operations = 0, losses = 0, share_updates = 0;
  std::uint32_t failures = 0;
  for (std::uint64_t s = first; s <= last && failures < failures_most; ++s) {
    const auto o = ballast::sim::run_schedule(s, verbose && first == last);
    events += o.events;
    steps += o.steps;
    operations += o.operations;
    losses += o.losses;
    share_updates += o.share_updates;
    if (!o.ok) {
      ++failures;
      print_failure(s, failures_most == 1 ? ballast::sim::run_schedule(s, true) : o);
    } else if (verbose && first == last) {
      for (const auto& line : o.lines) fmt::print("{}\n", line);
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  fmt::print(
      "{} schedules, {} failed, {} events, {} steps, {} operations, {} share updates, {} losses in {:.1f} s ({:.0f} "
      "schedules/s)\n",
      last - first + 1, failures, events, steps, operations, share_updates, losses, seconds,
      static_cast<double>(last - first + 1) / seconds);
  return failures == 0 ? 0 : 1;
}
