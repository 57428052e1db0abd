#include "gpu/cuda/forward_impl.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "gpu/cuda/patience_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

// 16, 64, 256, … and the largest batch: grids of the kernels that work on a rank's own tokens.
std::vector<std::uint32_t> capacities(std::uint32_t max_tokens) {
  std::vector<std::uint32_t> all;
  for (std::uint32_t c = 16; c < max_tokens; c *= 4) all.push_back(c);
  all.push_back(max_tokens);
  return all;
}

shape_view view_of(const moe_shape& s, std::uint32_t entries, std::uint32_t max_tokens) {
  const bool sigmoid = s.score == scoring::sigmoid;
  return {s.layers,     s.experts,  s.top_k,       s.hidden,
          s.intermediate, s.shared_intermediate, s.groups, s.top_groups,
          entries,      max_tokens, sigmoid,       s.renormalise,
          sigmoid,      s.routed_scale, s.norm_eps, s.expert_type == dtype::f8_e4m3 ? weight_type::f8_e4m3 : weight_type::bf16,
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

struct cuda_forward::graph {
  cudaGraph_t captured = nullptr;
  cudaGraphExec_t ready = nullptr;
  graph() = default;
  graph(const graph&) = delete;
  graph& operator=(const graph&) = delete;
  ~graph() {
    if (ready != nullptr) log_failure(cudaGraphExecDestroy(ready), "destroying a graph");
    if (captured != nullptr) log_failure(cudaGraphDestroy(captured), "destroying a graph");
  }
};

cuda_forward::cuda_forward(settings s) : settings_(std::move(s)) {}
cuda_forward::~cuda_forward() = default;

result<std::unique_ptr<cuda_forward>> cuda_forward::make(settings s) {
  std::unique_ptr<cuda_forward> made(new cuda_forward(std::move(s)));
  workspace_sizes sizes;
  for (const auto& m : made->settings_.models) {
    sizes.models.push_back(m.shape);
    sizes.entries.push_back(m.slots->entries_per_layer());
  }
  sizes.max_tokens = made->settings_.max_tokens;
  sizes.members = made->settings_.members;
  auto work = workspace::make(sizes);
  if (!work) return fail(work.error());
  auto issuing = stream::make(true);
  if (!issuing) return fail(issuing.error());
  auto done = event::make();
  if (!done) return fail(done.error());
  int ordinal = 0, processors = 0;
  if (auto ok = check(cudaGetDevice(&ordinal), "asking for the GPU"); !ok) return fail(ok.error());
  const auto asked = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, ordinal);
  if (auto ok = check(asked, "asking for the GPU's size"); !ok) return fail(ok.error());
  made->processors_ = static_cast<std::uint32_t>(processors);
  made->work_ = std::move(*work);
  made->stream_ = std::move(*issuing);
  made->done_ = std::move(*done);
  return made;
}

layer_args cuda_forward::args_of(model_index model, std::uint32_t capacity) const {
  const auto& m = settings_.models[model];
  layer_args a{};
  a.shape = view_of(m.shape, m.slots->entries_per_layer(), settings_.max_tokens);
  a.bundle = bundle_of(m.shape);
  a.work = work_.view();
  a.step = work_.step();
  a.capacity = capacity;
  a.count_loads = settings_.count_loads;
  // Small batches leave the wide kernels out: launching them would cost more than they save.
  if (capacity > 256 && has_wide_way(a.shape)) a.wide_above = 64;
  return a;
}

status cuda_forward::issue_layer(const layer_args& a, const dense_view* next) {
  const auto on = stream_.get();
  if (auto ok = check(route(a, on), "router"); !ok) return ok;
  if (auto ok = check(dispatch(a, on), "dispatch"); !ok) return ok;
  if (a.shape.shared_intermediate != 0)  // while the others' rows are on their way
    if (auto ok = check(run_shared(a, processors_, on), "shared expert"); !ok) return ok;
  if (auto ok = check(gather(a, on), "gather"); !ok) return ok;
  if (auto ok = check(run_experts(a, processors_, on), "experts"); !ok) return ok;
  return check(combine(a, next, on), "combine");
}

status cuda_forward::issue_step(model_index model, std::uint32_t capacity) {
  const auto& m = settings_.models[model];
  const auto on = stream_.get();
  auto a = args_of(model, capacity);
  const auto row_bytes = std::size_t{capacity} * m.shape.hidden * sizeof(float);
  const auto counts_bytes = std::size_t{m.shape.layers} * a.shape.entries * sizeof(std::uint32_t);
  const auto copy = [&](void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    return check(cudaMemcpyAsync(to, from, bytes, kind, on), "copying a batch");
  };
  if (auto ok = copy(work_.step(), &work_.next_step(), sizeof(step_view), cudaMemcpyHostToDevice); !ok) return ok;
  if (auto ok = copy(a.work.hidden, work_.rows_in(), row_bytes, cudaMemcpyHostToDevice); !ok) return ok;
  a.dense = m.dense->layer(0);
  if (auto ok = check(norm_rows(a, on), "norm"); !ok) return ok;
  for (std::uint32_t l = 0; l < m.shape.layers; ++l) {
    a.layer = l;
    a.dense = m.dense->layer(l);
    a.slots = m.slots->layer(l);
    const auto* next = l + 1 < m.shape.layers ? &m.dense->layer(l + 1) : nullptr;
    if (auto ok = issue_layer(a, next); !ok) return ok;
  }
  if (auto ok = copy(work_.rows_out(), a.work.hidden, row_bytes, cudaMemcpyDeviceToHost); !ok) return ok;
  if (!settings_.count_loads) return {};
  return copy(work_.counts_out(), a.work.counts, counts_bytes, cudaMemcpyDeviceToHost);
}

result<std::unique_ptr<cuda_forward::graph>> cuda_forward::capture(model_index model, std::uint32_t capacity) {
  auto made = std::make_unique<graph>();
  const auto begun = cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal);
  if (auto ok = check(begun, "capturing a step"); !ok) return fail(ok.error());
  const auto issued = issue_step(model, capacity);
  const auto ended = check(cudaStreamEndCapture(stream_.get(), &made->captured), "capturing a step");
  if (!issued) return fail(issued.error());
  if (!ended) return fail(ended.error());
  const auto code = cudaGraphInstantiate(&made->ready, made->captured, 0);
  if (auto ok = check(code, "making a graph of a step"); !ok) return fail(ok.error());
  if (auto ok = check(cudaGraphUpload(made->ready, stream_.get()), "uploading a graph"); !ok) return fail(ok.error());
  return made;
}

status cuda_forward::prepare(model_index model) {
  for (const auto capacity : capacities(settings_.max_tokens)) {
    auto& known = graphs_[{model, capacity}];
    if (known) continue;
    auto made = capture(model, capacity);
    if (!made) return fail(made.error());
    known = std::move(*made);
  }
  return stream_.wait();
}

status cuda_forward::fill_step(model_index model, step_t step, std::uint32_t tokens, const cuda_routing& routing,
                               cuda_communicator& comm) {
  auto& links = comm.links();
  auto& next = work_.next_step();
  next.step = step;
  next.sequence = comm.sequence();
  next.rank = comm.rank();
  next.members = comm.size();
  next.routing = routing.view();
  next.stop = comm.stop().view();
  next.failed = 0;
  for (std::uint32_t r = 0; r < comm.size(); ++r) {
    next.tokens[r] = links.header_of(r).tokens[model];
    next.at[r] = comm.views()[r];
    if (next.tokens[r] > settings_.max_tokens)
      return fail(errc::corrupt, fmt::format("seat {} announced {} tokens; a rank takes at most {}",
                                             index_of(comm.members()[r]), next.tokens[r], settings_.max_tokens));
  }
  if (links.step() != step || next.tokens[comm.rank()] != tokens)
    return fail(errc::invalid_argument,
                fmt::format("step {} with {} tokens of model {}: the headers were exchanged for step {} with {}", step,
                            tokens, model, links.step(), next.tokens[comm.rank()]));
  std::uint32_t position = 0;
  for (const auto seat : routing.seats()) {
    const auto& members = comm.members();
    const auto it = std::lower_bound(members.begin(), members.end(), seat);
    if (it == members.end() || *it != seat)
      return fail(errc::invalid_argument,
                  fmt::format("placement version {} of model {} names seat {}, which is no member of epoch {}",
                              routing.version(), model, index_of(seat), comm.epoch()));
    next.rank_of[position++] = static_cast<std::uint32_t>(it - members.begin());
  }
  return {};
}

status cuda_forward::fault_of(const cuda_communicator& comm) const {
  const auto& f = work_.fault();
  const auto seat = f.source < comm.members().size() ? index_of(comm.members()[f.source]) : ~0u;
  switch (f.kind) {
    case fault_wrong_expert:
      return fail(errc::corrupt,
                  fmt::format("layer {}: seat {} sent a token for expert {} to slot {}, which holds {}", f.layer, seat,
                              f.named, f.slot, f.held == no_slot ? "nothing" : fmt::format("expert {}", f.held)));
    case fault_no_slot:
      return fail(errc::corrupt, fmt::format("layer {}: seat {} named slot {}, which does not exist", f.layer, seat, f.slot));
    case fault_stopped:
      return fail(errc::aborted, fmt::format("layer {}: a member was not waited for", f.layer));
    default:
      return {};
  }
}

void cuda_forward::take_counts(model_index model, slot_counts& counts) const {
  const auto& m = settings_.models[model];
  const auto entries = m.slots->entries_per_layer();
  counts.tokens.resize(m.shape.layers);
  const auto* from = work_.counts_out();
  for (auto& layer : counts.tokens) {
    layer.resize(entries);
    for (auto& n : layer) n += *from++;
  }
}

status cuda_forward::run(model_index model, step_t step, std::span<float> hidden, const cuda_routing& routing,
                         cuda_communicator& comm, slot_counts& counts) {
  const auto& m = settings_.models[model];
  const auto tokens = static_cast<std::uint32_t>(hidden.size() / m.shape.hidden);
  const auto give_up = [&](const status& why) { return comm.links().give_up(why.error()); };
  if (auto ok = comm.links().alive(); !ok) return ok;
  if (auto ok = fill_step(model, step, tokens, routing, comm); !ok) return give_up(ok);
  const auto all = capacities(settings_.max_tokens);
  const auto& announced = work_.next_step().tokens;
  const auto most = *std::max_element(announced, announced + comm.size());  // what others send here counts, too
  const auto capacity = *std::lower_bound(all.begin(), all.end(), most);
  const auto found = graphs_.find({model, capacity});
  if (found == graphs_.end()) return give_up(fail(errc::invalid_argument, fmt::format("model {} was not prepared", model)));
  if (auto ok = m.slots->flush(stream_.get()); !ok) return give_up(ok);
  work_.fault() = {};
  std::memcpy(work_.rows_in(), hidden.data(), hidden.size_bytes());
  if (auto ok = check(cudaGraphLaunch(found->second->ready, stream_.get()), "starting a step"); !ok) return give_up(ok);
  if (auto ok = done_.record(stream_); !ok) return give_up(ok);
  const auto waited = wait_for(done_, comm.links(), comm.stop(), host::clock::now() + settings_.timeout,
                               &work_.fault());
  comm.advance(m.shape.layers);
  if (!waited) return give_up(waited);
  if (auto ok = fault_of(comm); !ok) return give_up(ok);
  std::memcpy(hidden.data(), work_.rows_out(), hidden.size_bytes());
  if (settings_.count_loads) take_counts(model, counts);
  return {};
}

}  // namespace ballast::gpu::cuda
