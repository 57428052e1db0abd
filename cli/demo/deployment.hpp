// The demo's processes: a coordinator and agents of one rank each, on one machine, from one configuration file.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "cli/local/local_deployment.hpp"
#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

struct demo_settings {
  std::uint32_t agents = 7;
  std::uint32_t initial_ranks = 4;
  std::uint32_t redundant = 16;        // replicas beyond one per expert, a layer
  std::uint32_t slots_per_layer = 72;  // two survivors hold every replica
  std::uint32_t spare_pages = 16;
  std::uint32_t window_size = 256;  // steps
  gpu::moe_shape shape;
  std::uint32_t topics = 8;
  std::uint64_t seed = 20;
  std::uint32_t tokens = 4, steps = 12, concurrency = 16;
};
demo_settings default_demo_settings();

class demo_deployment {
 public:
  // Writes the checkpoint and the configuration into `folder` and starts the processes. Errors: those of each.
  static result<demo_deployment> start(const std::string& folder, const std::string& loads,
                                       const demo_settings& settings);

  const std::string& model() const noexcept { return model_; }
  const std::string& checkpoint() const noexcept { return checkpoint_; }
  const std::string& coordinator() const noexcept { return coordinator_; }
  const std::string& events() const noexcept { return events_; }

  local_deployment& processes() noexcept { return processes_; }

 private:
  explicit demo_deployment(local_deployment processes) : processes_(std::move(processes)) {}
  std::string model_, checkpoint_, coordinator_, events_;
  local_deployment processes_;
};

}  // namespace ballast
