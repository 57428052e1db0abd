// One step of one model on one GPU: a graph of all layers' kernels, captured once for each batch capacity. It reads slot
// tables, routing and peers' addresses where they lie, so it stays valid across rebalances and across switches of the
// communicator.
#pragma once

#include <map>
#include <memory>

#include "gpu/cuda/cuda_communicator_impl.hpp"
#include "gpu/cuda/dense_weights_impl.hpp"
#include "gpu/cuda/routing_images_impl.hpp"
#include "gpu/cuda/slot_table_impl.hpp"
#include "gpu/cuda/workspace_impl.hpp"

namespace ballast::gpu::cuda {

// What a step reads of a model; owned by the device.
struct model_parts {
  moe_shape shape;
  cuda_slot_table* slots = nullptr;
  dense_weights* dense = nullptr;
};

// Threads: the issuing thread.
class cuda_forward {
 public:
  struct settings {
    std::vector<model_parts> models;
    std::uint32_t max_tokens = 0, members = 0;
    std::chrono::milliseconds timeout{10'000};
    bool count_loads = true;
  };
  static result<std::unique_ptr<cuda_forward>> make(settings s);
  ~cuda_forward();

  // Captures the graphs of `model`: once, before its first step.
  status prepare(model_index model);
  status run(model_index model, step_t step, std::span<float> hidden, const cuda_routing& routing,
             cuda_communicator& comm, slot_counts& counts);
  const stream& issuing() const noexcept { return stream_; }

 private:
  struct graph;
  explicit cuda_forward(settings s);
  result<std::unique_ptr<graph>> capture(model_index model, std::uint32_t capacity);
  status issue_step(model_index model, std::uint32_t capacity);
  status issue_layer(const layer_args& a, const dense_view* next);
  layer_args args_of(model_index model, std::uint32_t capacity) const;
  status fill_step(model_index model, step_t step, std::uint32_t tokens, const cuda_routing& routing,
                   cuda_communicator& comm);
  status fault_of(const cuda_communicator& comm) const;
  void take_counts(model_index model, slot_counts& counts) const;

  const settings settings_;
  std::uint32_t processors_ = 0;
  stream stream_;
  event done_;
  workspace work_;
  std::map<std::pair<model_index, std::uint32_t>, std::unique_ptr<graph>> graphs_;  // by model and capacity
};

}  // namespace ballast::gpu::cuda
