// One step of one model on one GPU: the launch of a graph, and the wait for it. Where kernels write into the members'
// memory, the graphs are the forward's own and stay valid across switches of the communicator; with NCCL they are the
// communicator's.
#pragma once

#include <memory>

#include "gpu/cuda/nccl_link_impl.hpp"
#include "gpu/cuda/routing_images_impl.hpp"

namespace ballast::gpu::cuda {

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
  // For communicators that capture their own; as long-lived as this.
  const step_recipe& recipe() const noexcept { return *recipe_; }
  const stream& issuing() const noexcept { return stream_; }
  // step_rhythm's word; as long-lived as this.
  const std::uint32_t* rhythm() const noexcept { return work_.view().rhythm; }

 private:
  explicit cuda_forward(settings s);
  status fill_step(model_index model, step_t step, std::uint32_t tokens, const cuda_routing& routing,
                   cuda_communicator& comm);
  status fault_of(cuda_communicator& comm) const;
  cudaGraphExec_t graph_for(model_index model, const cuda_communicator& comm) const;
  void take_counts(model_index model, slot_counts& counts) const;

  const settings settings_;
  stream stream_;
  event done_;
  bool stuck_ = false;  // a step that was given up has not ended: its buffers and graphs are still in use
  workspace work_;
  std::unique_ptr<step_recipe> recipe_;
  std::unique_ptr<step_graphs> graphs_;
};

}  // namespace ballast::gpu::cuda
