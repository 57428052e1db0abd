#include "cli/offline_flags.hpp"

#include "policies/formats/expert_map.hpp"

namespace ballast {
namespace {

const CLI::Range ranks_range(1U, 65536U), nodes_range(1U, 65536U), layers_range(0U, policies::most_dense_layers);

void add_recording_flags(CLI::App& to, recording_options& r) {
  to.add_option("--stats", r.stats, "recorded loads of any engine; - is standard input")->required();
  to.add_option("--stats-format", r.stats_format, "vllm, sglang, ballast; default: as the content shows");
  to.add_option("--first-dense-layers", r.first_dense_layers,
                "dense layers before the first MoE layer, where a form counts them (sglang, trtllm)")
      ->check(layers_range);
}

void add_bundle_flags(CLI::App& to, offline::bundle_options& b) {
  auto* bytes = to.add_option("--bundle-bytes", b.bytes, "bytes of one expert in one layer");
  auto* hidden = to.add_option("--hidden", b.hidden, "hidden size, in place of --bundle-bytes")->excludes(bytes);
  auto* inner = to.add_option("--intermediate", b.intermediate, "an expert's inner size")->excludes(bytes);
  hidden->needs(inner);
  inner->needs(hidden);
  to.add_option("--dtype", b.dtype, "f32, bf16, f16, f8_e4m3")->capture_default_str();
}

}  // namespace

void add_plan_flags(CLI::App& to, plan_verb_options& o) {
  add_recording_flags(to, o.recording);
  to.add_option("--ranks", o.topology.ranks, "ranks to place on")->required()->check(ranks_range);
  to.add_option("--nodes", o.topology.nodes, "nodes that they lie on")->check(nodes_range)->capture_default_str();
  auto* redundant = to.add_option("--redundant", o.topology.redundant,
                                  "redundant experts a layer; default: as the placement in use, or the recording");
  to.add_option("--slots-per-rank", o.topology.slots_per_rank, "experts a layer that a rank holds")
      ->check(CLI::Range(1U, 65536U))
      ->excludes(redundant);
  to.add_option("--policy", o.policy,
                "economy, quality, fresh, static, deepseek; default: economy from a placement, else fresh");
  to.add_option("--from-map", o.from_map, "placement in use, of any engine; default: the recording's, if it has one");
  to.add_option("--from-format", o.from_format,
                "vllm, sglang, trtllm, vllm-ascend, ballast; default: as the content shows");
  to.add_option("--from-ranks", o.from_ranks, "ranks of that placement, if they are others")->check(ranks_range);
  to.add_option("--format", o.format, "to write: vllm, sglang, trtllm, vllm-ascend, ballast")->capture_default_str();
  to.add_option("--interval", o.interval, "plan from the last so many records, or all")->capture_default_str();
  to.add_option("--out", o.out, "write the placement there; - is standard output");
  to.add_option("--shares", o.shares, "of an expert's tokens: even, or solved (in ballast's form only)")
      ->check(CLI::IsMember({"even", "solved"}))
      ->capture_default_str();
  to.add_option("--threads", o.threads)->check(CLI::Range(1U, 256U))->capture_default_str();
  add_bundle_flags(to, o.bundle);
}

void add_simulate_flags(CLI::App& to, simulate_options& o) {
  add_recording_flags(to, o.recording);
  to.add_option("--ranks", o.ranks, "ranks to place on")->required()->check(ranks_range);
  to.add_option("--nodes", o.nodes, "nodes that they lie on")->check(nodes_range)->capture_default_str();
  to.add_option("--records", o.records, "replay only the first so many records")->check(CLI::PositiveNumber);
  to.add_option("--policy", o.policies, "list of policies, or all")->delimiter(',')->capture_default_str();
  to.add_option("--interval", o.intervals, "list: records between rebalances; default: as the recording says, or 8")
      ->delimiter(',')
      ->check(CLI::Range(1U, 1U << 20));
  to.add_option("--redundant", o.redundant, "list: redundant experts a layer")->delimiter(',')->capture_default_str();
  to.add_option("--shares", o.shares,
                "list: even; interval (solved with each plan); record (solved for each record from the one before)")
      ->delimiter(',')
      ->check(CLI::IsMember({"even", "interval", "record"}))
      ->capture_default_str();
  to.add_option("--trigger", o.trigger, "list: off; on (rebalance only when it pays)")
      ->delimiter(',')
      ->check(CLI::IsMember({"off", "on"}))
      ->capture_default_str();
  add_bundle_flags(to, o.bundle);
  to.add_option("--link", o.cost.link_gbps, "GB/s that a rank receives copies with")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  to.add_option("--step-ms", o.cost.step_ms, "time of a balanced step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  to.add_option("--steps-per-record", o.cost.steps_per_record, "default: as the recording says, or 100")
      ->check(CLI::PositiveNumber);
  to.add_option("--imbalance-share", o.cost.imbalance_share, "part of a step that grows with the imbalance")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  to.add_option("--slowdown", o.cost.slowdown, "by how much a step is longer while copies are under way")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  to.add_option("--threads", o.threads, "settings side by side; default: one for each processor")
      ->check(CLI::Range(1U, 256U));
  to.add_option("--json", o.json_file, "write everything there as JSON; - is standard output, without the table");
  to.add_flag("--with-load", o.with_load, "with the load of every rank in the JSON, for ballast report");
}

void add_convert_flags(CLI::App& to, convert_options& o) {
  to.add_option("IN", o.in, "placement or recorded loads, of any engine; - is standard input")->required();
  to.add_option("--format", o.format, "to write: vllm, sglang, trtllm, vllm-ascend, ballast; loads: vllm, ballast")
      ->capture_default_str();
  to.add_option("--from-format", o.from_format, "default: as the content shows");
  to.add_option("--out", o.out, "write it there; - is standard output")->capture_default_str();
  to.add_option("--ranks", o.ranks, "ranks of the placement, where its form does not say it")->check(ranks_range);
  to.add_option("--first-dense-layers", o.first_dense_layers, "dense layers before the first MoE layer")
      ->check(layers_range);
  to.add_flag("--loads", o.loads, "convert recorded loads, not a placement");
}

void add_report_flags(CLI::App& to, report_options& o) {
  to.add_option("--stats", o.stats, "list: recorded loads of any engine")->delimiter(',');
  to.add_option("--stats-format", o.stats_format, "vllm, sglang, ballast; default: as the content shows");
  to.add_option("--first-dense-layers", o.first_dense_layers, "dense layers before the first MoE layer (sglang)")
      ->check(layers_range);
  to.add_option("--records", o.records, "replay only the first so many records")->check(CLI::PositiveNumber);
  to.add_option("--simulation", o.simulations,
                "list: what ballast simulate --json wrote; with --with-load for heat maps")
      ->delimiter(',');
  to.add_option("--ranks", o.ranks, "ranks to place on")->check(ranks_range);
  to.add_option("--nodes", o.nodes, "nodes that they lie on")->check(nodes_range)->capture_default_str();
  to.add_option("--policy", o.policies, "list of policies")->delimiter(',')->capture_default_str();
  to.add_option("--interval", o.intervals, "list: records between rebalances; default: as the recording says, or 8")
      ->delimiter(',')
      ->check(CLI::Range(1U, 1U << 20));
  to.add_option("--redundant", o.redundant, "list: redundant experts a layer")->delimiter(',')->capture_default_str();
  to.add_option("--shares", o.shares, "list: even, interval, record")
      ->delimiter(',')
      ->check(CLI::IsMember({"even", "interval", "record"}))
      ->capture_default_str();
  add_bundle_flags(to, o.bundle);
  to.add_option("--out", o.out, "HTML file to write; - is standard output")->required();
}

}  // namespace ballast
