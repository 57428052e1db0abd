// A deployment of GPU ranks in one process for benchmarks: devices with large models of random weights, stepped by one
// thread a rank.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gpu/device.hpp"

namespace ballast::gpu::bench {

// 48 layers x 128 experts, hidden 2048, intermediate 768, bf16, top-8.
moe_shape qwen3_30b();

struct rig_options {
  moe_shape shape = qwen3_30b();
  std::uint32_t ranks = 2;
  std::uint32_t gpus = 0;  // 0: as many as there are; rank r stands on GPU r modulo it
  std::uint32_t slots_per_layer = 72;
  std::uint32_t spare_pages = 36;
  std::uint32_t max_batch_tokens = 256;
  std::uint64_t pull_bytes_per_s = 0;
  std::uint64_t pull_piece_bytes = device_limits{}.pull_piece_bytes;
  bool verify_pages = true, count_loads = true, pull_by_rhythm = true;
};

class rig {
 public:
  static result<std::unique_ptr<rig>> make(const rig_options& options);

  std::uint32_t ranks() const noexcept { return static_cast<std::uint32_t>(devices_.size()); }
  const rig_options& options() const noexcept { return options_; }
  device& at(std::uint32_t rank) { return *devices_.at(rank); }
  static seat_id seat(std::uint32_t rank) { return seat_id{rank}; }

  // Expert e of every layer at rank e * ranks / experts, then further replicas round robin until `redundant` are
  // placed.
  placement even_placement(std::uint32_t redundant) const;
  status load(const placement& table);  // pages, slots, routing
  status connect(epoch_t epoch, std::vector<std::unique_ptr<communicator>>& out);
  status connect(epoch_t epoch) { return connect(epoch, comms_); }
  // The table that it used before, to be let go of by another thread.
  std::shared_ptr<const routing_table> use(std::uint32_t rank, std::shared_ptr<const routing_table> routing) {
    return std::exchange(routing_.at(rank), std::move(routing));
  }
  communicator& comm(std::uint32_t rank) { return *comms_.at(rank); }

  // Steps at most `count` times with `tokens` tokens a rank, each rank in a thread; milliseconds of each step as rank 0
  // saw it. before(rank, step): called by the rank's thread ahead of each step, may change its tables. until(): asked
  // by rank 0 ahead of each step, which is the last one if it says true.
  using hook = std::function<status(std::uint32_t rank, std::uint32_t step)>;
  result<std::vector<double>> run(std::uint32_t count, std::uint32_t tokens, const hook& before = {},
                                  const std::function<bool()>& until = {});
  // By the rank's own thread; the communicator it stepped on before.
  std::unique_ptr<communicator> exchange_comm(std::uint32_t rank, std::unique_ptr<communicator> with) {
    return std::exchange(comms_.at(rank), std::move(with));
  }
  status everywhere(const std::function<status(std::uint32_t)>& body);
  // Answers of the last step, by rank.
  const std::vector<float>& hidden(std::uint32_t rank) const { return hidden_.at(rank); }

 private:
  explicit rig(rig_options o) : options_(std::move(o)) {}
  result<bool> step(std::uint32_t rank, std::uint32_t tokens, bool last);  // whether any rank called it the last one
  std::vector<std::byte> random_bundle(std::uint64_t seed) const;

  const rig_options options_;
  std::unique_ptr<backend> backend_;
  std::vector<std::unique_ptr<device>> devices_;
  std::vector<std::unique_ptr<communicator>> comms_;
  std::vector<std::shared_ptr<const routing_table>> routing_;
  std::vector<slot_counts> counts_;
  std::vector<std::vector<float>> hidden_;
  std::vector<step_t> next_step_;
};

double percentile(std::vector<double> values, double p);

}  // namespace ballast::gpu::bench
