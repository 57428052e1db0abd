// The command line: flags to structs, errors to one line, outcomes to exit codes.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>

#include "cli/demo/demo.hpp"
#include "cli/offline_flags.hpp"
#include "cli/render/render.hpp"
#include "cli/soak/soak.hpp"
#include "cli/verbs/make_checkpoint.hpp"
#include "cli/verbs/verbs.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

constexpr int exit_done = 0, exit_failed = 1, exit_usage = 2;

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// All options of all verbs, and the verb that was chosen. Each add_… function declares one verb.
struct program {
  program(std::ostream& o, std::ostream& e)
      : out(o),
        shown{o, e, &o == &std::cout && ::isatty(STDOUT_FILENO) == 1,
              &e == &std::cerr && ::isatty(STDERR_FILENO) == 1} {}

  std::ostream& out;
  screen shown;
  CLI::App app{"Serves Mixture-of-Experts models with expert parallelism, balanced and elastic", "ballast"};
  common_options common;
  std::function<status()> chosen;

  scale_options scale;
  rebalance_options rebalance;
  watch_options watch;
  serve_options serve;
  bench_options bench;
  checkpoint_options checkpoint;
  demo_options demo;
  soak_options soak;
  plan_verb_options plan;
  simulate_options simulate;
  convert_options convert;
  report_options report;
  operation_id aborted = 0;
  std::string key_file;
  bool no_wait = false, verbose = false;

  using action = std::function<status()>;

  CLI::App* verb(const char* name, const char* text, action run, std::function<void()> check = {}) {
    auto* made = app.add_subcommand(name, text);
    made->add_flag("--verbose", verbose, "log more, to standard error");
    made->callback([this, run = std::move(run), check = std::move(check)] {
      if (check) check();
      chosen = run;
    });
    return made;
  }

  void add_json(CLI::App* to) { to->add_flag("--json", common.json, "print one JSON document"); }

  // A verb that speaks to a coordinator elsewhere.
  CLI::App* remote_verb(const char* name, const char* text, action run, std::function<void()> check = {}) {
    auto* made = verb(name, text, std::move(run), std::move(check));
    add_json(made);
    const auto address = [&](const char* flag, std::string& to, const char* what, const char* variable) {
      made->add_option(flag, to, what)->envname(variable)->capture_default_str();
    };
    address("--coordinator", common.coordinator, "control gateway", "BALLAST_COORDINATOR");
    address("--events", common.events, "event publisher", "BALLAST_EVENTS");
    address("--keys", common.keys, "key file of `ballast keygen`", "BALLAST_KEYS");
    address("--server-key", common.server_key, "the coordinator's public key, unless its address has it",
            "BALLAST_SERVER_KEY");
    made->add_flag("--insecure", common.insecure, "speak in the clear beyond this host, too");
    made->add_option("--timeout", common.timeout_s, "seconds to wait for an answer")->check(CLI::Range(0.05, 3600.0));
    return made;
  }

  void add_questions() {
    remote_verb("status", "seats, models, operations", [this] { return verbs::show_status(common, out); });
    remote_verb("ops", "open and recent operations", [this] { return verbs::list_operations(common, out); });
    auto* w = remote_verb("watch", "events as they happen", [this] { return verbs::watch(common, watch, out); });
    w->add_option("--count", watch.count, "end after so many events");
    w->add_option("--seconds", watch.seconds, "end after so long")->check(CLI::NonNegativeNumber);
    auto* a = remote_verb("abort", "give an operation up", [this] { return verbs::abort(common, aborted, out); });
    a->add_option("ID", aborted, "operation")->required();
  }

  void add_commands() {
    auto* s = remote_verb(
        "scale", "set the number of ranks, or the very seats",
        [this] {
          scale.wait = !no_wait;
          return verbs::scale(common, scale, out);
        },
        [this] {
          if (scale.ranks == 0 && scale.seats.empty()) throw CLI::RequiredError("--to N or --seats LIST");
        });
    auto* to = s->add_option("--to", scale.ranks, "ranks to serve with")->check(CLI::Range(1u, 65536u));
    auto* seats = s->add_option("--seats", scale.seats, "seats to serve with: 0,2,5")->delimiter(',');
    to->excludes(seats);
    s->add_flag("--join-first", scale.join_first, "switch at once, balance afterwards");
    s->add_flag("--no-wait", no_wait, "do not wait for the outcome");
    s->add_option("--deadline", scale.deadline_s, "seconds to wait for the outcome")->check(CLI::Range(0.05, 86400.0));
    auto* r = remote_verb("rebalance", "place experts by their load", [this] {
      rebalance.wait = !no_wait;
      return verbs::rebalance(common, rebalance, out);
    });
    r->add_option("--model", rebalance.model, "one model only");
    r->add_flag("--dry-run", rebalance.dry_run, "show what would be done");
    r->add_flag("--force", rebalance.force, "also when it does not pay");
    r->add_flag("--no-wait", no_wait, "do not wait for the outcome");
    r->add_option("--deadline", rebalance.deadline_s, "seconds to wait for the outcome")
        ->check(CLI::Range(0.05, 86400.0));
  }

  void add_keygen() {
    auto* k = verb("keygen", "make a key pair for this process or person",
                   [this] { return verbs::keygen(common, key_file, out); });
    add_json(k);
    k->add_option("FILE", key_file, "new file for it")->required();
  }

  void add_serve() {
    auto* s =
        verb("serve", "coordinator and ranks in this process", [this] { return verbs::serve(common, serve, out); });
    add_json(s);
    s->add_option("--config", serve.config, "deployment file (docs/CONFIG.md)")->required();
    s->add_option("--ranks", serve.ranks, "ranks in this process")->check(CLI::Range(1u, 1024u));
    s->add_option("--listen", serve.listen, "control gateway's address");
    s->add_option("--events", serve.events, "event publisher's address");
    s->add_option("--front-end", serve.front_end, "address for clients");
  }

  void add_bench() {
    auto* b = remote_verb(
        "bench", "load generator", [this] { return verbs::bench(common, bench, out); },
        [this] {
          if (bench.num_requests == 0 && bench.duration_s == 0)
            throw CLI::RequiredError("--num-requests N or --duration S");
        });
    b->add_option("--model", bench.model, "model to ask; default: the only one");
    b->add_option("--topics", bench.topics,
                  "checkpoint folder with topics.json: inputs that follow its recording; default: random inputs");
    auto* rate = b->add_option("--request-rate", bench.request_rate, "requests a second")->check(CLI::PositiveNumber);
    auto* many = b->add_option("--concurrency", bench.concurrency, "requests at once")->check(CLI::Range(1u, 4096u));
    rate->excludes(many);
    auto* number = b->add_option("--num-requests", bench.num_requests, "requests in all")->check(CLI::PositiveNumber);
    auto* duration = b->add_option("--duration", bench.duration_s, "seconds to send for")->check(CLI::PositiveNumber);
    number->excludes(duration);
    b->add_option("--tokens", bench.tokens, "tokens of a request")
        ->check(CLI::Range(1u, 65536u))
        ->capture_default_str();
    b->add_option("--steps", bench.steps, "decode steps")->check(CLI::Range(1u, 65536u))->capture_default_str();
    b->add_option("--seed", bench.seed, "of inputs and gaps")->capture_default_str();
  }

  void add_checkpoint() {
    auto& c = checkpoint;
    c.shape = default_shape();
    auto* m = verb("make-checkpoint", "write a checkpoint of any shape",
                   [this] { return verbs::make_checkpoint(checkpoint, common.json, out); });
    add_json(m);
    m->add_option("OUT", c.out, "folder to write")->required();
    m->add_option("--layout", c.layout, "qwen3, mixtral, deepseek")->capture_default_str();
    m->add_option("--dtype", c.dtype, "f32, bf16, f16, f8_e4m3")->capture_default_str();
    m->add_option("--layers", c.shape.layers)->capture_default_str();
    m->add_option("--experts", c.shape.experts)->capture_default_str();
    m->add_option("--top-k", c.shape.top_k)->capture_default_str();
    m->add_option("--hidden", c.shape.hidden)->capture_default_str();
    m->add_option("--intermediate", c.shape.intermediate)->capture_default_str();
    m->add_option("--shared-intermediate", c.shape.shared_intermediate)->capture_default_str();
    m->add_option("--groups", c.shape.groups)->capture_default_str();
    m->add_option("--top-groups", c.shape.top_groups)->capture_default_str();
    m->add_option("--loads", c.loads, "recorded loads that the routers follow (JSON Lines, .gz too)");
    m->add_option("--topics", c.topics, "topics taken from the recording")->capture_default_str();
    m->add_option("--seed", c.seed)->capture_default_str();
    m->add_option("--shards", c.shards)->check(CLI::Range(1u, 1024u))->capture_default_str();
  }

  void add_offline() {
    auto* p = verb("plan", "placement from recorded loads, for any engine", [this] {
      plan.json = common.json;
      return verbs::plan(plan, shown);
    });
    add_json(p);
    add_plan_flags(*p, plan);
    add_simulate_flags(*verb("simulate", "recorded loads replayed: policies, intervals, redundancy compared",
                             [this] { return verbs::simulate(simulate, shown); }),
                       simulate);
    add_report_flags(*verb("report", "recorded loads or simulations as one HTML page",
                           [this] { return verbs::report(report, shown); }),
                     report);
    add_convert_flags(*verb("convert", "a placement or recorded loads from one engine's form to another's",
                            [this] { return verbs::convert(convert, shown); }),
                      convert);
  }

  void add_demo() {
    auto* d = verb("demo", "the whole story on this machine", [this] { return run_demo(demo, out); });
    d->add_option("--json", demo.json_file, "write the final table there");
    d->add_option("--keep", demo.folder, "work in this folder and keep it");
    d->add_option("--loads", demo.loads, "recorded loads; default: the project's own");
    d->add_flag("--plain", demo.plain, "no redrawing, also on a terminal");
  }

  void add_soak() {
    auto* s = verb("soak", "random operations, kills and hangs under load, on this machine",
                   [this] { return run_soak(soak, out); });
    s->add_option("--minutes", soak.minutes, "how long")->check(CLI::Range(0.1, 100000.0))->capture_default_str();
    s->add_option("--seed", soak.seed, "of what is done and when")->capture_default_str();
    s->add_option("--json", soak.json_file, "write the outcome there");
    s->add_option("--keep", soak.folder, "work in this folder and keep it");
  }
};

}  // namespace

int run_program(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  program p(out, err);
  p.app.require_subcommand(1);
  p.add_questions();
  p.add_commands();
  p.add_serve();
  p.add_keygen();
  p.add_bench();
  p.add_checkpoint();
  p.add_offline();
  p.add_demo();
  p.add_soak();
  try {
    p.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return p.app.exit(e, out, err);  // --help
    err << "ballast: " << one_line(e.what()) << "; see ballast --help\n";
    return exit_usage;
  }
  log::set_process_name("ballast");
  if (p.verbose) log::set_level(log::level::debug);
  const auto done = p.chosen();
  if (done) return exit_done;
  if (p.common.json) {
    out << json::of(done.error()) << "\n";
  } else {
    err << "ballast: " << one_line(done.error().text) << "\n";
  }
  return exit_failed;
}

}  // namespace ballast
