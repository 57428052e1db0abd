// `ballast bench`: client traffic, and what the clients saw.
#include <fmt/core.h>
#include <unistd.h>

#include <ostream>
#include <random>

#include "cli/checkpoint/topic_model.hpp"
#include "cli/client/control_client.hpp"
#include "cli/load/load_generator.hpp"
#include "cli/render/render.hpp"
#include "cli/signals.hpp"
#include "cli/verbs/verbs.hpp"

namespace ballast::verbs {
namespace {

using clock = std::chrono::steady_clock;

// Without --num-requests the recording is followed once in so many requests, again and again.
constexpr std::uint64_t requests_a_recording = 2048;

result<model_status> model_to_ask(link_context& context, const common_options& common, const bench_options& options) {
  control_options control;
  control.coordinator = common.coordinator;
  control.deadline = std::chrono::milliseconds(static_cast<long>(common.timeout_s * 1e3));
  auto client = control_client::connect(context, control);
  if (!client) return fail(client.error());
  auto all = (*client)->get_status();
  if (!all) return fail(all.error());
  std::string names;
  for (const auto& model : all->models) {
    if (model.name == options.model || (options.model.empty() && all->models.size() == 1)) return model;
    names += fmt::format(" {}", model.name);
  }
  return fail(errc::not_found, fmt::format("name one of the models with --model; {} serves:{}", common.coordinator,
                                           names.empty() ? " none" : names));
}

inference_request blank_request(const bench_options& options, const std::string& model, std::uint64_t number) {
  inference_request request;
  request.id = fmt::format("bench-{}-{}-{}", ::getpid(), options.seed, number);
  request.model = model;
  request.tokens = options.tokens;
  request.steps = options.steps;
  return request;
}

load_generator::source random_source(const bench_options& options, const model_status& model) {
  return [options, model](std::uint64_t number) {
    auto request = blank_request(options, model.name, number);
    std::mt19937_64 random(options.seed * 0x9E3779B97F4A7C15u + number);
    std::normal_distribution<float> value;
    request.hidden.resize(std::size_t{options.tokens} * model.hidden);
    for (auto& one : request.hidden) one = value(random);
    return request;
  };
}

result<load_generator::source> topic_source_of(const bench_options& options, const model_status& model) {
  auto traffic = load_topics(options.topics);
  if (!traffic) return fail(traffic.error());
  if (traffic->hidden != model.hidden) {
    return fail(errc::invalid_argument,
                fmt::format("{}: tokens of {} values, but {} takes {}; name the folder it was loaded from",
                            options.topics, traffic->hidden, model.name, model.hidden));
  }
  const auto inputs = std::make_shared<const topic_inputs>(std::move(*traffic));
  const auto round = options.num_requests != 0 ? options.num_requests : requests_a_recording;
  return load_generator::source([=](std::uint64_t number) {
    auto request = blank_request(options, model.name, number);
    const double position = static_cast<double>(number % round) / static_cast<double>(round);
    request.hidden = inputs->hidden(options.seed, number, inputs->topic_of(position, number), options.tokens);
    return request;
  });
}

struct bench_report {
  load_totals totals;
  double seconds = 0;
  latency_figures first, step;
};

std::string json_of(const latency_figures& f) {
  return fmt::format("{{\"mean\":{:.4f},\"median\":{:.4f},\"p99\":{:.4f},\"max\":{:.4f}}}", f.mean, f.p50, f.p99,
                     f.max);
}

void print(const bench_report& r, bool as_json, std::ostream& out) {
  const double per_second = r.seconds > 0 ? 1 / r.seconds : 0;
  const auto& t = r.totals;
  if (as_json) {
    out << fmt::format(
        "{{\"requests_sent\":{},\"requests_answered\":{},\"requests_failed\":{},\"duration_s\":{:.4f},"
        "\"request_throughput\":{:.4f},\"output_token_throughput\":{:.4f},\"resends\":{},\"moves\":{},"
        "\"duplicates\":{},\"ttfo_ms\":{},\"itl_ms\":{}}}\n",
        t.sent, t.answered, t.failed, r.seconds, static_cast<double>(t.answered) * per_second,
        static_cast<double>(t.tokens) * per_second, t.resends, t.moves, t.duplicates, json_of(r.first),
        json_of(r.step));
    return;
  }
  const auto row = [&](const char* what, const latency_figures& f) {
    out << fmt::format("{:<24} mean {:>9.3f}  median {:>9.3f}  p99 {:>9.3f}\n", what, f.mean, f.p50, f.p99);
  };
  out << fmt::format("{:<24} {} sent, {} answered, {} failed\n", "requests", t.sent, t.answered, t.failed);
  out << fmt::format("{:<24} {:.2f}\n", "duration (s)", r.seconds);
  out << fmt::format("{:<24} {:.2f}\n", "requests/s", static_cast<double>(t.answered) * per_second);
  out << fmt::format("{:<24} {:.2f}\n", "output tokens/s", static_cast<double>(t.tokens) * per_second);
  row("time to first output (ms)", r.first);
  row("inter-step latency (ms)", r.step);
  out << fmt::format("{:<24} {} sent again, {} moved, {} duplicate outputs\n", "of these", t.resends, t.moves,
                     t.duplicates);
}

}  // namespace

status bench(const common_options& common, const bench_options& options, std::ostream& out) {
  stop_signal stop;
  link_context context;
  if (auto safe = secure(context, common); !safe) return safe;
  const auto model = model_to_ask(context, common, options);
  if (!model) return fail(model.error());
  result<load_generator::source> source = random_source(options, *model);
  if (!options.topics.empty()) source = topic_source_of(options, *model);
  if (!source) return fail(source.error());
  serving_options serving;
  serving.coordinator = common.coordinator;
  serving.events = common.events;
  load_options load;
  load.request_rate = options.request_rate;
  load.concurrency = options.concurrency;
  load.seed = options.seed;
  load.requests = options.num_requests;
  const auto began = clock::now();
  auto traffic = load_generator::start(context, serving, load, *source);
  if (!traffic) return fail(traffic.error());
  const auto end =
      began + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(options.duration_s));
  while (!(*traffic)->wait(std::chrono::milliseconds(100))) {
    if (stop.raised() || (options.duration_s > 0 && clock::now() >= end)) (*traffic)->stop();
  }
  bench_report report{(*traffic)->totals(), std::chrono::duration<double>(clock::now() - began).count(),
                      figures_of((*traffic)->first_output_ms()), figures_of((*traffic)->step_ms())};
  print(report, common.json, out);
  if (report.totals.failed == 0) return {};
  return fail(errc::unavailable, fmt::format("{} of {} requests failed; the first: {}", report.totals.failed,
                                             report.totals.sent, report.totals.failures.front()));
}

}  // namespace ballast::verbs
