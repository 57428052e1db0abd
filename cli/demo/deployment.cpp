#include "cli/demo/deployment.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "cli/checkpoint/checkpoint_writer.hpp"

namespace ballast {
namespace {

std::string configuration(const std::string& folder, const std::string& model, const std::string& checkpoint,
                          const demo_settings& s) {
  return fmt::format(R"(# Written by `ballast demo`.
[coordinator]
bind = "ipc://{0}/coordinator"
events = "ipc://{0}/events"
store = "sqlite://{0}/state.db"
initial_ranks = {1}
num_redundant_experts = {2}
window_size = {3}
step_interval = 0            # the demo says when
load_interval_steps = 4
policy = "economy"
imbalance_trigger = 1.0
heartbeat_ms = 100
heartbeat_timeout_ms = 1000
operation_deadline_ms = 30000

[agent]
coordinator = "ipc://{0}/coordinator"
front_end = "tcp://127.0.0.1:*"
data = "ipc://{0}/data-*"
ranks = 1
slots_per_layer = {4}
spare_pages = {5}
max_batch_tokens = 128
session_mib = 64

[[model]]
name = "{6}"
checkpoint = "{7}"
)",
                     folder, s.initial_ranks, s.redundant, s.window_size, s.slots_per_layer, s.spare_pages, model,
                     checkpoint);
}

std::string last_line(const std::string& file) {
  std::ifstream in(file);
  std::string line, last = "its log is empty";
  while (std::getline(in, line)) {
    if (!line.empty()) last = line;
  }
  return last;
}

// Beside this program; or, in a build tree, in the folder of its own part.
std::string sibling(const std::string& name, const std::string& part) {
  const auto here = program_folder();
  for (const auto& candidate : {here + name, here + "../" + part + "/" + name}) {
    if (std::filesystem::exists(candidate)) return candidate;
  }
  return here + name;
}

}  // namespace

demo_settings default_demo_settings() {
  demo_settings s;
  s.shape.layers = 8;
  s.shape.experts = 128;
  s.shape.top_k = 8;
  s.shape.hidden = 64;
  s.shape.intermediate = 32;
  return s;
}

result<demo_deployment> demo_deployment::start(const std::string& folder, const std::string& loads,
                                               const demo_settings& settings) {
  demo_deployment d;
  d.folder_ = folder;
  d.model_ = "qwen3-moe-demo";
  d.checkpoint_ = folder + "/checkpoint";
  d.coordinator_ = fmt::format("ipc://{}/coordinator", folder);
  d.events_ = fmt::format("ipc://{}/events", folder);
  const topic_source topics{loads, settings.topics};
  if (auto made = write_checkpoint(d.checkpoint_, hf_layout::qwen3_moe, settings.shape, settings.seed, topics); !made) {
    return fail(made.error());
  }
  const auto config = folder + "/ballast.toml";
  std::ofstream(config) << configuration(folder, d.model_, d.checkpoint_, settings);
  const auto launch = [&](const std::string& name, const std::string& program,
                          std::vector<std::string> arguments) -> status {
    auto child = child_process::start(program, arguments, fmt::format("{}/{}.log", folder, name));
    if (!child) return fail(child.error());
    d.processes_.emplace(name, std::move(*child));
    return {};
  };
  auto launched = launch("coordinator", sibling("ballast-coordinator", "coordinator"), {"--config", config});
  for (std::uint32_t i = 0; launched && i < settings.agents; ++i) {
    const auto name = fmt::format("a{}", i);
    launched = launch(name, sibling("ballast-agent", "agent"), {"--config", config, "--name", name});
  }
  if (!launched) return fail(launched.error());
  return d;
}

status demo_deployment::check() {
  for (auto& [name, process] : processes_) {
    if (process.running()) continue;
    return fail(errc::unavailable,
                fmt::format("{} has ended by itself: {}", name, last_line(fmt::format("{}/{}.log", folder_, name))));
  }
  return {};
}

status demo_deployment::kill(const std::string& agent) {
  const auto at = processes_.find(agent);
  if (at == processes_.end()) return fail(errc::not_found, "no agent " + agent);
  at->second.kill();
  (void)at->second.wait(std::chrono::seconds(5));
  processes_.erase(at);
  return {};
}

void demo_deployment::stop(std::chrono::milliseconds longest) {
  const auto end = std::chrono::steady_clock::now() + longest;
  // Agents first: a coordinator that is gone would make each of them wait for it.
  for (const bool agents : {true, false}) {
    for (auto& [name, process] : processes_) {
      if ((name != "coordinator") == agents) process.ask_to_end();
    }
    for (auto& [name, process] : processes_) {
      if ((name != "coordinator") != agents) continue;
      const auto left = end - std::chrono::steady_clock::now();
      (void)process.wait(
          std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(left)));
    }
  }
  processes_.clear();  // kills what still runs
}

}  // namespace ballast
