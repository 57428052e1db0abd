// live_balance: a coordinator and agents on the host backend serve a small DeepSeek-V3-like model under traffic that
// follows recorded loads, with and without re-solved shares and moves. What every rank got is taken from the
// coordinator's own recording (record_stats). Prints the imbalance of each interval that nobody had seen before it
// came.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "agent/agent.hpp"
#include "cli/checkpoint/checkpoint_writer.hpp"
#include "cli/client/control_client.hpp"
#include "cli/load/load_generator.hpp"
#include "coordinator/service.hpp"
#include "messages/log.hpp"
#include "policies/formats/byte_source.hpp"
#include "policies/load_window.hpp"
#include "tests/support/paths.hpp"

namespace {

using namespace ballast;
namespace fs = std::filesystem;

struct settings_of_run {
  std::string loads = test_data("dsv3-shift-s1-4l.jsonl.gz");
  std::string policy = "economy";
  std::uint32_t ranks = 8, layers = 4, redundant = 32, slots = 40, spare_pages = 16;
  std::uint32_t intervals = 22, interval_steps = 256, load_interval_steps = 4;
  std::uint32_t concurrency = 32, tokens = 16, steps = 16, intermediate = 64;
  std::uint32_t shares_interval_ms = 100, shares_window = 8;
  double trigger = 1.0, early = 1.05, shares_tokens = 200;
};

struct row {
  std::vector<double> imbalances;  // by interval
  std::uint64_t rebalances = 0, copies = 0, share_updates = 0, share_skips = 0, answered = 0, failed = 0;
  double step_ms = 0;
};

template <class T>
T must(result<T> r) {
  if (!r) {
    fmt::print(stderr, "live_balance: {}\n", r.error().text);
    std::exit(1);
  }
  return std::move(*r);
}

gpu::moe_shape shape_of(const settings_of_run& s) {
  gpu::moe_shape shape;
  shape.layers = s.layers;
  shape.experts = 256;
  shape.top_k = 8;
  shape.hidden = 64;
  shape.intermediate = s.intermediate;
  shape.groups = 8;
  shape.top_groups = 4;
  shape.score = gpu::scoring::sigmoid;
  shape.router_bias = true;
  return shape;
}

// Tokens that each rank got in each interval, from a recording that the coordinator wrote.
std::vector<std::map<seat_id, std::vector<double>>> received_by_interval(const std::string& file, step_t first,
                                                                         std::uint32_t interval_steps) {
  std::vector<std::map<seat_id, std::vector<double>>> out;
  const auto bytes = must(policies::byte_source::open(file));
  std::istream lines(bytes.get());
  std::string line;
  while (std::getline(lines, line)) {
    const auto record = nlohmann::json::parse(line);
    if (record["record_type"] != "eplb_load_stats" || record["step"] < first) continue;
    const auto interval = (record["step"].get<step_t>() - first) / interval_steps;
    out.resize(std::max<std::size_t>(out.size(), interval + 1));
    for (std::size_t layer = 0; layer < record["rank_load"].size(); ++layer)
      for (std::size_t i = 0; i < record["seats"].size(); ++i) {
        auto& got = out[interval][static_cast<seat_id>(record["seats"][i].get<std::uint32_t>())];
        got.resize(record["rank_load"].size());
        got[layer] += record["rank_load"][layer][i].get<double>();
      }
  }
  if (bytes->failure()) must(result<bool>(fail(*bytes->failure())));
  return out;
}

class live_run {
 public:
  live_run(const settings_of_run& s, std::string folder, const std::string& name, bool shares, bool moves)
      : s_(s), folder_(std::move(folder)), name_(name), shares_(shares), moves_(moves) {}

  row run() {
    start();
    const auto traffic = load();
    auto generator = must(load_generator::start(context_, serving(), {0, s_.concurrency, requests(), 1}, traffic));
    // The first interval is warm-up: its end is when everybody places experts by what was seen.
    bool placed = !shares_ && !moves_;
    while (!generator->wait(std::chrono::milliseconds(20))) {
      if (placed) continue;
      const auto status = must(control_->get_status());
      if (status.steps < s_.interval_steps) continue;
      rebalance_request r;
      r.force = true;
      must(control_->rebalance(r));
      placed = true;
    }
    return figures(*generator);
  }

 private:
  coordinator_config coordinator() const {
    coordinator_config c;
    c.bind = "inproc://gateway-" + name_;
    c.events = "inproc://events-" + name_;
    c.initial_ranks = s_.ranks;
    c.num_redundant_experts = s_.redundant;
    c.policy = s_.policy;
    c.window_size = s_.interval_steps;
    c.step_interval = moves_ ? s_.interval_steps : 0;
    c.load_interval_steps = s_.load_interval_steps;
    c.imbalance_trigger = s_.trigger;
    c.shares_interval_ms = shares_ ? s_.shares_interval_ms : 0;
    c.shares_window = s_.shares_window;
    c.early_imbalance = s_.early;
    c.shares_tokens = s_.shares_tokens;
    c.heartbeat_timeout_ms = 20'000;
    c.record_stats = folder_ + "/" + name_ + ".jsonl.gz";
    return c;
  }

  void start() {
    coordinator_ = must(coordinator_service::start(context_, coordinator()));
    for (std::uint32_t r = 0; r < s_.ranks; ++r) {
      agent_config a;
      a.name = fmt::format("a{}", r);
      a.node = "n0";
      a.coordinator = "inproc://gateway-" + name_;
      a.front_end = fmt::format("inproc://front-{}-{}", name_, r);
      a.data = fmt::format("inproc://data-{}-{}", name_, r);
      model_spec model;
      model.name = std::string("dsv3");
      model.checkpoint = folder_ + "/checkpoint";
      a.models.push_back(model);
      a.capacity.push_back({s_.slots, s_.spare_pages});
      agents_.push_back(must(agent::start(context_, a)));
    }
    control_ = must(control_client::connect(context_, {"inproc://gateway-" + name_, "inproc://events-" + name_}));
  }

  std::uint64_t requests() const { return std::uint64_t{s_.intervals} * s_.interval_steps * s_.concurrency / s_.steps; }
  serving_options serving() const {
    serving_options o;
    o.coordinator = "inproc://gateway-" + name_;
    o.events = "inproc://events-" + name_;
    return o;
  }
  load_generator::source load() const {
    const auto inputs = std::make_shared<const topic_inputs>(must(load_topics(folder_ + "/checkpoint")));
    return [this, inputs](std::uint64_t number) {
      inference_request r;
      r.id = fmt::format("{}-{}", name_, number);
      r.model = "dsv3";
      r.tokens = s_.tokens;
      r.steps = s_.steps;
      const double position = static_cast<double>(number) / static_cast<double>(requests());
      r.hidden = inputs->hidden(1, number, inputs->topic_of(position, number), s_.tokens);
      return r;
    };
  }

  row figures(load_generator& generator) {
    row out;
    const auto status = must(control_->get_status());
    const auto totals = generator.totals();
    out.answered = totals.answered;
    out.failed = totals.failed;
    out.share_updates = status.models[0].share_updates;
    out.share_skips = status.models[0].share_skips;
    for (const auto& op : status.operations) {
      if (op.kind != "rebalance" || op.outcome != "done" || op.pages_copied == 0) continue;
      if (op.first_step < std::uint64_t{s_.interval_steps} * 3 / 2) continue;  // warm-up
      ++out.rebalances;
      out.copies += op.pages_copied;
    }
    const auto steps = figures_of(generator.step_ms());
    out.step_ms = steps.p50;
    agents_.clear();
    control_.reset();
    coordinator_->stop();
    std::vector<policies::seat_info> seats;
    for (std::uint32_t r = 0; r < s_.ranks; ++r) seats.push_back({static_cast<seat_id>(r), 0, 1.0, {}});
    for (const auto& got : received_by_interval(folder_ + "/" + name_ + ".jsonl.gz", 1, s_.interval_steps))
      out.imbalances.push_back(policies::imbalance_of_ranks(got, seats).mean);
    if (out.imbalances.size() > s_.intervals) out.imbalances.resize(s_.intervals);  // what ran out at the end
    return out;
  }

  const settings_of_run& s_;
  std::string folder_, name_;
  bool shares_, moves_;
  link_context context_;
  std::unique_ptr<coordinator_service> coordinator_;
  std::vector<std::unique_ptr<agent>> agents_;
  std::unique_ptr<control_client> control_;
};

void print(const std::string& name, const row& r, const settings_of_run& s) {
  auto next = r.imbalances;
  next.erase(next.begin(), next.begin() + std::min<std::ptrdiff_t>(2, static_cast<std::ptrdiff_t>(next.size())));
  std::ranges::sort(next);
  const double n = static_cast<double>(next.size());
  const double slots = static_cast<double>(s.layers) * (256 + s.redundant);
  const double moved =
      r.rebalances == 0 ? 0 : static_cast<double>(r.copies) / slots / static_cast<double>(r.rebalances);
  fmt::print("{:<18} {:>8.4f} {:>8.4f} {:>8.4f} {:>10} {:>9.2f} {:>8} {:>7} {:>9} {:>7} {:>8.2f}\n", name,
             std::accumulate(next.begin(), next.end(), 0.0) / n, next[next.size() * 95 / 100], next.back(),
             r.rebalances, 100 * moved, r.share_updates, r.share_skips, r.answered, r.failed, r.step_ms);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Balances a live deployment under recorded loads and prints what its ranks got"};
  settings_of_run s;
  std::vector<std::string> modes{"neither", "shares", "moves", "both"};
  bool verbose = false;
  app.add_option("--modes", modes, "neither, shares, moves, both")->delimiter(',');
  app.add_option("--loads", s.loads, "recorded loads of 256 experts");
  app.add_option("--policy", s.policy, "placement policy");
  app.add_option("--intervals", s.intervals, "of the recording, from its start to its end");
  app.add_option("--interval-steps", s.interval_steps, "steps of one");
  app.add_option("--tokens", s.tokens, "of a request");
  app.add_option("--intermediate", s.intermediate, "size of an expert: what part of a step experts take");
  app.add_option("--concurrency", s.concurrency, "requests at once");
  app.add_option("--shares-interval", s.shares_interval_ms, "ms between looks at the shares");
  app.add_option("--shares-window", s.shares_window, "least steps that shares are solved for");
  app.add_option("--shares-tokens", s.shares_tokens, "of an expert in them");
  app.add_option("--trigger", s.trigger, "imbalance below which nothing is planned");
  app.add_option("--early", s.early, "imbalance that shares leave, for an early plan");
  app.add_flag("--verbose", verbose, "print every interval, and the logs");
  CLI11_PARSE(app, argc, argv);
  if (!verbose) log::set_level(log::level::warn);
  const auto folder = (fs::temp_directory_path() / fmt::format("ballast-live-{}", ::getpid())).string();
  fs::create_directories(folder);
  if (auto made = write_checkpoint(folder + "/checkpoint", hf_layout::deepseek_v3, shape_of(s), 20,
                                   topic_source{s.loads, s.intervals});
      !made)
    return fmt::print(stderr, "live_balance: {}\n", made.error().text), 1;
  fmt::print("{:<18} {:>8} {:>8} {:>8} {:>10} {:>9} {:>8} {:>7} {:>9} {:>7} {:>8}\n", "next-interval PAR", "mean",
             "p95", "max", "rebalances", "moved %", "updates", "skips", "answered", "failed", "step ms");
  for (const auto& mode : modes) {
    const bool shares = mode == "shares" || mode == "both", moves = mode == "moves" || mode == "both";
    const auto r = live_run(s, folder, mode, shares, moves).run();
    print(mode, r, s);
    if (verbose)
      for (std::size_t i = 0; i < r.imbalances.size(); ++i)
        fmt::print("  interval {:>2}: {:.4f}\n", i, r.imbalances[i]);
  }
  fs::remove_all(folder);
  return 0;
}
