// A step of one model as graphs: what it issues, in order, and the graphs captured from that, one for each batch
// capacity. They read slot tables, routing and members' addresses where these lie, and so stay valid across rebalances.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "gpu/cuda/dense_weights_impl.hpp"
#include "gpu/cuda/slot_table_impl.hpp"
#include "gpu/cuda/workspace_impl.hpp"
#include "messages/types.hpp"

namespace ballast::gpu::cuda {

// What a step reads of a model; owned by the device.
struct model_parts {
  moe_shape shape;
  cuda_slot_table* slots = nullptr;
  dense_weights* dense = nullptr;
};

// What brings rows to their experts and answers home, between the kernels.
class exchange_steps {
 public:
  virtual ~exchange_steps() = default;
  virtual status rows(const layer_args& a, const stream& on) = 0;     // after dispatch
  virtual status answers(const layer_args& a, const stream& on) = 0;  // after the experts
};

// Where kernels write into the members' memory: nothing is left to do.
class peer_steps final : public exchange_steps {
 public:
  status rows(const layer_args&, const stream&) override { return {}; }
  status answers(const layer_args&, const stream&) override { return {}; }
};

// Threads: any; nothing changes once it is made. The memory it names outlives it and its graphs.
class step_recipe {
 public:
  struct parts {
    std::vector<model_parts> models;
    const workspace* work = nullptr;
    std::uint32_t processors = 0, max_tokens = 0;
    bool count_loads = true;
  };
  explicit step_recipe(parts made);
  std::size_t models() const noexcept { return made_.models.size(); }
  const std::vector<std::uint32_t>& capacities() const noexcept { return capacities_; }
  // The least capacity for so many tokens, at most max_tokens.
  std::uint32_t capacity_for(std::uint32_t tokens) const;
  status issue(model_index model, std::uint32_t capacity, exchange_steps& exchange, const stream& on) const;

 private:
  layer_args args_of(model_index model, std::uint32_t capacity) const;
  status issue_layer(const layer_args& a, const dense_view* next, exchange_steps& exchange, const stream& on) const;

  const parts made_;
  std::vector<std::uint32_t> capacities_;  // 16, 64, 256, … and max_tokens
};

// Threads: one at a time. Destroyed when none of them runs.
class step_graphs {
 public:
  explicit step_graphs(const step_recipe& recipe) : recipe_(recipe) {}
  // Captures those of `model` that are not there yet, on `on`, where nothing else is issued meanwhile, and waits until
  // the GPU has them.
  status prepare(model_index model, exchange_steps& exchange, const stream& on);
  cudaGraphExec_t find(model_index model, std::uint32_t capacity) const;  // null: not prepared

 private:
  struct graph;
  struct destroy {
    void operator()(graph* g) const;
  };
  using owned = std::unique_ptr<graph, destroy>;
  result<owned> capture(model_index model, std::uint32_t capacity, exchange_steps& exchange, const stream& on) const;

  const step_recipe& recipe_;
  std::map<std::pair<model_index, std::uint32_t>, owned> graphs_;  // by model and capacity
};

}  // namespace ballast::gpu::cuda
