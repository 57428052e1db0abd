#include "cli/soak/soak.hpp"

#include <fmt/core.h>

#include <ostream>
#include <random>
#include <thread>

#include "cli/checkpoint/safetensors_writer.hpp"
#include "cli/local/work_folder.hpp"
#include "cli/soak/soak_course.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t distinct_requests = 512;
constexpr std::size_t requests_at_once = 8;

model_spec model_of(std::uint64_t seed) {
  model_spec m;
  m.name = "soak";
  m.seed = seed;
  m.shape.layers = 4;
  m.shape.experts = 16;
  m.shape.top_k = 2;
  m.shape.hidden = 64;
  m.shape.intermediate = 32;
  return m;
}

// Any one agent can hold every expert: whoever is left goes on.
std::string configuration(const std::string& folder, const model_spec& m, const soak_settings& s) {
  return fmt::format(R"(# Written by `ballast soak`.
[coordinator]
bind = "ipc://{0}/coordinator"
events = "ipc://{0}/events"
initial_ranks = {1}
num_redundant_experts = 8
window_size = 256
step_interval = 2000
load_interval_steps = 4
operation_deadline_ms = 20000
store = "sqlite://{0}/state.db"

[agent]
coordinator = "ipc://{0}/coordinator"
data = "ipc://{0}/data-*"
slots_per_layer = 24
spare_pages = 8
max_batch_tokens = 64
session_mib = 16

[[model]]
name = "{2}"
seed = {3}
layers = {4}
experts = {5}
top_k = {6}
hidden = {7}
intermediate = {8}
)",
                     folder, s.initial_ranks, m.name, m.seed, m.shape.layers, m.shape.experts, m.shape.top_k,
                     m.shape.hidden, m.shape.intermediate);
}

request_maker maker_of(const model_spec& m) {
  return [m](std::uint64_t number) {
    inference_request r;
    r.model = m.name;
    r.tokens = 2;
    r.steps = 12;
    std::mt19937_64 random(m.seed * 0x9E3779B97F4A7C15u + number);
    std::normal_distribution<float> value;
    r.hidden.resize(std::size_t{r.tokens} * m.shape.hidden);
    for (auto& one : r.hidden) one = value(random);
    return r;
  };
}

status compare(const model_spec& model, const std::vector<kept_answer>& answers, soak_report& report) {
  const auto threads = std::max(1u, std::thread::hardware_concurrency());
  const auto compared = compare_answers(model, maker_of(model), answers, threads);
  if (!compared) return fail(compared.error());
  report.compared = compared->compared;
  report.wrong += compared->different;
  if (compared->different > 0) return fail(errc::corrupt, compared->first_difference);
  return {};
}

status start_processes(local_deployment& processes, const soak_settings& settings) {
  auto launched = processes.start_coordinator();
  for (std::uint32_t i = 0; launched && i < settings.agents; ++i)
    launched = processes.start_agent(fmt::format("a{}", i));
  return launched;
}

status play(const std::string& folder, const soak_options& options, soak_report& report) {
  const soak_settings settings;
  const auto model = model_of(options.seed);
  stop_signal stop;
  link_context context;
  auto processes = local_deployment::open(folder, configuration(folder, model, settings));
  if (!processes) return fail(processes.error());
  if (auto started = start_processes(*processes, settings); !started) return started;
  control_options control;
  control.coordinator = fmt::format("ipc://{}/coordinator", folder);
  control.events = fmt::format("ipc://{}/events", folder);
  control.deadline = 30s;
  serving_options serving;
  serving.coordinator = control.coordinator;
  serving.events = control.events;
  auto traffic = soak_traffic::start(context, serving, maker_of(model), distinct_requests, requests_at_once);
  if (!traffic) return fail(traffic.error());
  soak_course course(*processes, **traffic, settings, options.seed, stop);
  auto done = course.connect(context, control);
  if (done) done = course.run(std::chrono::duration<double>(options.minutes * 60), report);
  const auto drained = (*traffic)->drain(60s);
  const auto counts = (*traffic)->counts();
  const auto answers = (*traffic)->first_answers();
  report.answered = counts.answered;
  report.wrong = counts.different;
  report.lost = counts.failed + (*traffic)->running();
  processes->stop(5s);
  const auto compared = compare(model, answers, report);
  if (!done) return done;
  if (!drained) return drained;
  if (counts.failed + counts.different > 0) return fail(errc::corrupt, counts.first_problem);
  return compared;
}

}  // namespace

status run_soak(const soak_options& options, std::ostream& out) {
  auto folder = work_folder::open(options.folder, "soak");
  if (!folder) return fail(folder.error());
  soak_report report;
  report.seed = options.seed;
  auto done = play(folder->path(), options, report);
  if (!done) {
    folder->keep();
    report.problem = done.error().text;
    done = fail(done.error().code, fmt::format("{} (logs are kept in {})", done.error().text, folder->path()));
  }
  out << text_of(report) << std::flush;
  if (!options.json_file.empty())
    if (auto written = write_text_file(options.json_file, json_of(report) + "\n"); !written) return written;
  return done;
}

}  // namespace ballast
