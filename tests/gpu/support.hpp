// Models with random weights, random placements, and ranks in threads, for the tests of any backend.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gpu/device.hpp"
#include "gpu/host/reference.hpp"

namespace ballast::gpu::test {

moe_shape small_shape(dtype type = dtype::bf16);

// `v` as a value of `type` no larger in magnitude, written at `out`.
void encode(dtype type, float v, std::byte* out);
double decode(dtype type, const std::byte* in);

struct model_data {
  moe_shape shape;
  std::vector<std::byte> dense;                              // all layers
  std::vector<std::vector<std::vector<std::byte>>> bundles;  // [layer][expert]
};
model_data make_model(const moe_shape& shape, std::uint64_t seed);
std::vector<float> make_hidden(const moe_shape& shape, std::uint32_t tokens, std::uint64_t seed);
std::vector<float> reference(const model_data& model, std::vector<float> hidden);

// Every expert on one random seat, and up to `redundant` further replicas a layer, with random slots and shares.
placement random_placement(const moe_shape& shape, const std::vector<seat_id>& seats, std::uint32_t slots_per_layer,
                           std::uint32_t redundant, std::uint64_t seed, model_index model = 0);

// Ranks of one process. Every function but step() runs on the caller's thread.
class cluster {
 public:
  struct options {
    std::string bind = "inproc://test";
    std::uint32_t ranks = 2;
    std::uint32_t slots_per_layer = 0;  // 0: as many as experts
    std::uint32_t spare_pages = 2;
    std::chrono::milliseconds timeout{20'000};
    std::function<std::unique_ptr<backend>()> make_backend;  // none: the host's
    std::uint32_t max_batch_tokens = 256;
    exchange_kind exchange = exchange_kind::automatic;
  };
  cluster(const model_data& model, options o);
  cluster(std::vector<model_data> models, options o);
  ~cluster();

  std::vector<seat_id> seats() const;
  device& at(std::uint32_t rank) { return *devices_.at(rank); }
  communicator& comm(std::uint32_t rank) { return *comms_.at(rank); }
  slot_counts& counts(std::uint32_t rank, model_index model = 0) { return counts_.at(rank).at(model); }
  std::vector<std::string> contributions(epoch_t epoch);  // opens the epoch everywhere
  status connect(epoch_t epoch);                          // all ranks; fails with the first failure
  status load(const placement& table);                    // pages, slots and routing of every rank
  void* context() const;

  // All ranks at once, each in its thread: body(rank). The results in rank order.
  std::vector<status> everywhere(const std::function<status(std::uint32_t)>& body);
  // One step of all ranks and models; hidden[rank][model] in place.
  std::vector<status> step(step_t number, std::vector<std::vector<std::vector<float>>>& hidden);
  status step_rank(std::uint32_t rank, step_t number, std::vector<std::vector<float>>& hidden);
  status step_model(std::uint32_t rank, step_t number,
                    std::vector<std::vector<float>>& hidden);  // headers exchanged already

 private:
  struct context_holder;
  std::unique_ptr<context_holder> context_;
  std::vector<model_data> models_;
  options options_;
  std::unique_ptr<backend> backend_;
  std::vector<std::unique_ptr<device>> devices_;
  std::vector<std::unique_ptr<communicator>> comms_;
  std::vector<std::vector<std::shared_ptr<const routing_table>>> routing_;  // [rank][model]
  std::vector<std::vector<slot_counts>> counts_;
};

}  // namespace ballast::gpu::test
