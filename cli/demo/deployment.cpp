#include "cli/demo/deployment.hpp"

#include <fmt/format.h>

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
  const std::string model = "qwen3-moe-demo", checkpoint = folder + "/checkpoint";
  const topic_source topics{loads, settings.topics};
  if (auto made = write_checkpoint(checkpoint, hf_layout::qwen3_moe, settings.shape, settings.seed, topics); !made)
    return fail(made.error());
  auto processes = local_deployment::open(folder, configuration(folder, model, checkpoint, settings));
  if (!processes) return fail(processes.error());
  demo_deployment d(std::move(*processes));
  d.model_ = model;
  d.checkpoint_ = checkpoint;
  d.coordinator_ = fmt::format("ipc://{}/coordinator", folder);
  d.events_ = fmt::format("ipc://{}/events", folder);
  auto launched = d.processes_.start_coordinator();
  for (std::uint32_t i = 0; launched && i < settings.agents; ++i)
    launched = d.processes_.start_agent(fmt::format("a{}", i));
  if (!launched) return fail(launched.error());
  return d;
}

}  // namespace ballast
