#include <algorithm>

#include "gpu/cuda/step_graphs_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

shape_view view_of(const moe_shape& s, std::uint32_t entries, std::uint32_t max_tokens) {
  const bool sigmoid = s.score == scoring::sigmoid;
  return {s.layers,       s.experts,
          s.top_k,        s.hidden,
          s.intermediate, s.shared_intermediate,
          s.groups,       s.top_groups,
          entries,        max_tokens,
          sigmoid,        s.renormalise,
          sigmoid,        s.routed_scale,
          s.norm_eps,     s.expert_type == dtype::f8_e4m3 ? weight_type::f8_e4m3 : weight_type::bf16,
          s.scale_block};
}

bundle_view bundle_of(const moe_shape& shape) {
  const auto layout = expert_layout(shape);
  const auto at = [&](const char* name) {
    const auto* tensor = layout.find(name);
    return tensor == nullptr ? std::size_t{0} : tensor->offset;
  };
  return {at("gate"), at("up"), at("down"), at("gate_scale"), at("up_scale"), at("down_scale")};
}

}  // namespace

step_recipe::step_recipe(parts made) : made_(std::move(made)) {
  for (std::uint32_t c = 16; c < made_.max_tokens; c *= 4) capacities_.push_back(c);
  capacities_.push_back(made_.max_tokens);
}

std::uint32_t step_recipe::capacity_for(std::uint32_t tokens) const {
  const auto it = std::lower_bound(capacities_.begin(), capacities_.end(), tokens);
  return it == capacities_.end() ? capacities_.back() : *it;
}

layer_args step_recipe::args_of(model_index model, std::uint32_t capacity) const {
  const auto& m = made_.models[model];
  layer_args a{};
  a.shape = view_of(m.shape, m.slots->entries_per_layer(), made_.max_tokens);
  a.bundle = bundle_of(m.shape);
  a.work = made_.work->view();
  a.step = made_.work->step();
  a.capacity = capacity;
  a.count_loads = made_.count_loads;
  // Small batches leave the wide kernels out: launching them would cost more than they save.
  if (capacity > 256 && has_wide_way(a.shape)) a.wide_above = 64;
  return a;
}

status step_recipe::issue_layer(const layer_args& a, const dense_view* next, exchange_steps& exchange,
                                const stream& on) const {
  const auto to = on.get();
  if (auto ok = check(route(a, to), "router"); !ok) return ok;
  if (auto ok = check(dispatch(a, to), "dispatch"); !ok) return ok;
  if (auto ok = exchange.rows(a, on); !ok) return ok;
  if (a.shape.shared_intermediate != 0)  // while the others' rows are on their way
    if (auto ok = check(run_shared(a, made_.processors, to), "shared expert"); !ok) return ok;
  if (auto ok = check(gather(a, to), "gather"); !ok) return ok;
  if (auto ok = check(run_experts(a, made_.processors, to), "experts"); !ok) return ok;
  if (auto ok = exchange.answers(a, on); !ok) return ok;
  return check(combine(a, next, to), "combine");
}

status step_recipe::issue(model_index model, std::uint32_t capacity, exchange_steps& exchange, const stream& on) const {
  const auto& m = made_.models[model];
  const auto& work = *made_.work;
  auto a = args_of(model, capacity);
  const auto row_bytes = std::size_t{capacity} * m.shape.hidden * sizeof(float);
  const auto counts_bytes = std::size_t{m.shape.layers} * a.shape.entries * sizeof(std::uint32_t);
  const auto copy = [&](void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    return check(cudaMemcpyAsync(to, from, bytes, kind, on.get()), "copying a batch");
  };
  if (auto ok = copy(work.step(), &work.next_step(), sizeof(step_view), cudaMemcpyHostToDevice); !ok) return ok;
  if (auto ok = copy(a.work.hidden, work.rows_in(), row_bytes, cudaMemcpyHostToDevice); !ok) return ok;
  a.dense = m.dense->layer(0);
  if (auto ok = check(norm_rows(a, on.get()), "norm"); !ok) return ok;
  for (std::uint32_t l = 0; l < m.shape.layers; ++l) {
    a.layer = l;
    a.dense = m.dense->layer(l);
    a.slots = m.slots->layer(l);
    const auto* next = l + 1 < m.shape.layers ? &m.dense->layer(l + 1) : nullptr;
    if (auto ok = issue_layer(a, next, exchange, on); !ok) return ok;
  }
  if (auto ok = copy(work.rows_out(), a.work.hidden, row_bytes, cudaMemcpyDeviceToHost); !ok) return ok;
  if (!made_.count_loads) return {};
  return copy(work.counts_out(), a.work.counts, counts_bytes, cudaMemcpyDeviceToHost);
}

struct step_graphs::graph {
  cudaGraph_t captured = nullptr;
  cudaGraphExec_t ready = nullptr;
};

void step_graphs::destroy::operator()(graph* g) const {
  if (g->ready != nullptr) log_failure(cudaGraphExecDestroy(g->ready), "destroying a graph");
  if (g->captured != nullptr) log_failure(cudaGraphDestroy(g->captured), "destroying a graph");
  delete g;
}

result<step_graphs::owned> step_graphs::capture(model_index model, std::uint32_t capacity, exchange_steps& exchange,
                                                const stream& on) const {
  owned made(new graph);
  const auto begun = cudaStreamBeginCapture(on.get(), cudaStreamCaptureModeThreadLocal);
  if (auto ok = check(begun, "capturing a step"); !ok) return fail(ok.error());
  const auto issued = recipe_.issue(model, capacity, exchange, on);
  const auto ended = check(cudaStreamEndCapture(on.get(), &made->captured), "capturing a step");
  if (!issued) return fail(issued.error());
  if (!ended) return fail(ended.error());
  const auto code = cudaGraphInstantiate(&made->ready, made->captured, 0);
  if (auto ok = check(code, "making a graph of a step"); !ok) return fail(ok.error());
  if (auto ok = check(cudaGraphUpload(made->ready, on.get()), "uploading a graph"); !ok) return fail(ok.error());
  return made;
}

status step_graphs::prepare(model_index model, exchange_steps& exchange, const stream& on) {
  for (const auto capacity : recipe_.capacities()) {
    auto& known = graphs_[{model, capacity}];
    if (known) continue;
    auto made = capture(model, capacity, exchange, on);
    if (!made) return fail(made.error());
    known = std::move(*made);
  }
  return on.wait();
}

cudaGraphExec_t step_graphs::find(model_index model, std::uint32_t capacity) const {
  const auto it = graphs_.find({model, capacity});
  return it == graphs_.end() || !it->second ? nullptr : it->second->ready;
}

}  // namespace ballast::gpu::cuda
