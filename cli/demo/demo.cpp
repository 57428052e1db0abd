#include "cli/demo/demo.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>
#include <ostream>
#include <thread>

#include "cli/checkpoint/safetensors_writer.hpp"
#include "cli/demo/story.hpp"
#include "cli/local/work_folder.hpp"

namespace ballast {
namespace {

// The recording that comes with the project, wherever the program was built or installed.
result<std::string> find_loads(const std::string& named) {
  if (!named.empty()) return named;
  const std::string name = "qwen30-drift-s1-8l.jsonl.gz";
  const auto here = program_folder();
  for (const auto& folder : {std::string("tests/data/"), here + "../../../tests/data/", here + "../share/ballast/"}) {
    if (std::filesystem::exists(folder + name)) return folder + name;
  }
  return fail(errc::not_found, name + " was not found; name recorded loads with --loads");
}

// The story, from the first process to the last; then the comparison, on a machine that is quiet again.
result<demo_report> play(const std::string& folder, const std::string& loads, const demo_settings& settings,
                         demo_view& view) {
  stop_signal stop;
  auto deployment = demo_deployment::start(folder, loads, settings);
  if (!deployment) return fail(deployment.error());
  demo_story story(*deployment, settings, view, stop);
  auto report = story.run();
  deployment->processes().stop(std::chrono::seconds(5));
  if (!report) return report;
  view.note(story.seconds(), fmt::format("comparing {} answers with one static rank", story.answers().size()));
  const auto threads = std::max(1u, std::thread::hardware_concurrency());
  model_spec served;
  served.name = deployment->model();
  served.checkpoint = deployment->checkpoint();
  auto compared = compare_answers(served, story.maker(), story.answers(), threads);
  if (!compared) return fail(compared.error());
  report->answers_compared = compared->compared;
  report->answers_different = compared->different;
  report->first_difference = compared->first_difference;
  report->seconds = story.seconds();
  return report;
}

}  // namespace

status run_demo(const demo_options& options, std::ostream& out) {
  const auto loads = find_loads(options.loads);
  if (!loads) return fail(loads.error());
  auto folder = work_folder::open(options.folder, "demo");
  if (!folder) return fail(folder.error());
  const auto settings = default_demo_settings();
  out << fmt::format(
      "ballast demo: {} agents, {} layers of {} experts (top {}), {} redundant replicas a layer; loads of {}\n",
      settings.agents, settings.shape.layers, settings.shape.experts, settings.shape.top_k, settings.redundant,
      std::filesystem::path(*loads).filename().string());
  demo_view view(out, !options.plain && ::isatty(STDOUT_FILENO) == 1);
  auto report = play(folder->path(), *loads, settings, view);
  if (!report) {
    folder->keep();
    return fail(report.error().code, fmt::format("{} (logs are kept in {})", report.error().text, folder->path()));
  }
  out << fmt::format("\n{}\n", text_of(*report));
  if (!options.json_file.empty())
    if (auto written = write_text_file(options.json_file, json_of(*report) + "\n"); !written) return written;
  auto verdict = verdict_of(*report);
  out << (verdict ? "nothing was lost and every answer is the same, bit for bit\n" : "the demo failed\n") << std::flush;
  return verdict;
}

}  // namespace ballast
