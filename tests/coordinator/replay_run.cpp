// replay_run: recorded loads through the cluster machine, with and without shares and moves; prints a table.
#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "tests/coordinator/replay.hpp"
#include "tests/support/paths.hpp"

namespace {

using ballast::cluster::test::replay;
using ballast::cluster::test::replay_settings;

void print(const char* name, const ballast::cluster::test::replay_result& r) {
  fmt::print("{:<22} {:>8.4f} {:>8.4f} {:>8.4f} {:>11} {:>9.2f} {:>8} {:>8}\n", name, r.mean, r.p95, r.worst,
             r.rebalances, 100 * r.moved, r.share_updates, r.share_skips);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Replays recorded loads through the coordinator's state machine in virtual time"};
  std::string file = ballast::test_data("dsv3-shift-s1-4l.jsonl.gz"), policy = "economy";
  replay_settings base;
  base.coordinator.num_redundant_experts = 32;
  base.coordinator.imbalance_trigger = 1.0;
  bool verbose = false;
  app.add_option("--loads", file, "recorded loads");
  app.add_option("--policy", policy, "of the rows that move experts");
  app.add_option("--seats", base.seats, "ranks");
  app.add_option("--nodes", base.nodes, "they stand on");
  app.add_option("--slots", base.slots, "of a rank, a layer");
  app.add_option("--redundant", base.coordinator.num_redundant_experts, "replicas beyond one per expert, a layer");
  app.add_option("--steps", base.steps_per_record, "that a record stands for");
  app.add_option("--step-ms", base.step_ms, "length of a step");
  app.add_option("--shares-window", base.coordinator.shares_window, "least steps that shares are solved for");
  app.add_option("--shares-tokens", base.coordinator.shares_tokens, "of an expert in them");
  app.add_option("--shares-interval", base.coordinator.shares_interval_ms, "ms between looks at them");
  app.add_option("--trigger", base.coordinator.imbalance_trigger, "imbalance below which nothing is planned");
  app.add_option("--early", base.coordinator.early_imbalance, "imbalance that shares leave, for an early plan");
  app.add_flag("--sampled", base.sampled, "whole tokens, drawn at random");
  app.add_flag("--verbose", verbose, "print every decision");
  CLI11_PARSE(app, argc, argv);
  const auto recording = ballast::policies::read_load_records(file);
  if (!recording) return fmt::print(stderr, "replay_run: {}\n", recording.error().text), 1;
  fmt::print("{:<22} {:>8} {:>8} {:>8} {:>11} {:>9} {:>8} {:>8}\n", "next-interval PAR", "mean", "p95", "max",
             "rebalances", "moved %", "updates", "skips");
  for (const bool shares : {false, true})
    for (const bool moves : {false, true}) {
      auto s = base;
      s.coordinator.policy = policy;
      if (!moves) s.coordinator.step_interval = 0;
      if (!shares) s.coordinator.shares_interval_ms = 0;
      s.placed_once = shares || moves;
      const auto out = replay(*recording, s).run();
      print(shares ? moves ? "shares and moves" : "shares only" : moves ? "moves only" : "neither", out);
      for (std::size_t i = 0; verbose && i < out.intervals.size(); ++i)
        fmt::print("  interval {:>2}: mean {:.4f}, worst layer {:.4f}, {} copies\n", i + 1, out.intervals[i].imbalance,
                   out.intervals[i].worst_layer, out.intervals[i].copies);
      if (verbose)
        for (const auto& d : out.decisions) fmt::print("  {}\n", d);
    }
  return 0;
}
