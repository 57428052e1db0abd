#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "gpu/cuda/forward_impl.hpp"
#include "gpu/cuda/patience_impl.hpp"

namespace ballast::gpu::cuda {
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
  made->work_ = std::move(*work);
  made->recipe_ = std::make_unique<step_recipe>(
      step_recipe::parts{made->settings_.models, &made->work_, static_cast<std::uint32_t>(processors),
                         made->settings_.max_tokens, made->settings_.count_loads});
  made->graphs_ = std::make_unique<step_graphs>(*made->recipe_);
  made->stream_ = std::move(*issuing);
  made->done_ = std::move(*done);
  return made;
}

status cuda_forward::prepare(model_index model) {
  peer_steps exchange;
  return graphs_->prepare(model, exchange, stream_);
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
  next.blocks = comm.nccl() != nullptr ? 1 : 0;
  for (std::uint32_t r = 0; r < comm.size(); ++r) {
    next.tokens[r] = links.header_of(r).tokens[model];
    next.at[r] = comm.views()[r];
    next.answers[r] = comm.answers()[r];
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

status cuda_forward::fault_of(cuda_communicator& comm) const {
  const auto& f = work_.fault();
  const auto seat = f.source < comm.members().size() ? index_of(comm.members()[f.source]) : ~0u;
  switch (f.kind) {
    case fault_wrong_expert:
      return fail(errc::corrupt,
                  fmt::format("layer {}: seat {} sent a token for expert {} to slot {}, which holds {}", f.layer, seat,
                              f.named, f.slot, f.held == no_slot ? "nothing" : fmt::format("expert {}", f.held)));
    case fault_no_slot:
      return fail(errc::corrupt,
                  fmt::format("layer {}: seat {} named slot {}, which does not exist", f.layer, seat, f.slot));
    case fault_stopped:
      return fail(errc::aborted, fmt::format("layer {}: a member was not waited for", f.layer));
    case fault_member:  // its own words are on their way
      if (auto ok = comm.links().alive_until(host::clock::now() + settings_.timeout); !ok) return ok;
      return fail(errc::corrupt, fmt::format("layer {}: seat {} met a fault and does not say which", f.layer, seat));
    default:
      return {};
  }
}

// The largest batch decides, as what others send here counts, too: so all members take the same capacity.
cudaGraphExec_t cuda_forward::graph_for(model_index model, const cuda_communicator& comm) const {
  const auto& announced = work_.next_step().tokens;
  const auto capacity = recipe_->capacity_for(*std::max_element(announced, announced + comm.size()));
  return comm.nccl() != nullptr ? comm.nccl()->find(model, capacity) : graphs_->find(model, capacity);
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
  if (stuck_) return give_up(fail(errc::io, "an earlier step still holds the GPU of this rank: restart this agent"));
  if (auto ok = fill_step(model, step, tokens, routing, comm); !ok) return give_up(ok);
  const auto graph = graph_for(model, comm);
  if (graph == nullptr) return give_up(fail(errc::invalid_argument, fmt::format("model {} was not prepared", model)));
  if (auto ok = m.slots->flush(stream_.get()); !ok) return give_up(ok);
  work_.fault() = {};
  std::memcpy(work_.rows_in(), hidden.data(), hidden.size_bytes());
  if (auto ok = check(cudaGraphLaunch(graph, stream_.get()), "starting a step"); !ok) return give_up(ok);
  if (auto ok = done_.record(stream_); !ok) return give_up(ok);
  wait_hooks hooks{.fault = &work_.fault()};
  if (comm.nccl() != nullptr)  // a fault travels with the answers
    hooks.unblock = [&] { comm.nccl()->end(); };
  else  // at once: the others' kernels wait for answers, and what is left of this step may be queued behind them
    hooks.tell = [&] { (void)give_up(fault_of(comm)); };
  const auto waited = wait_for(done_, comm.links(), comm.stop(), host::clock::now() + settings_.timeout, hooks);
  comm.advance(m.shape.layers);
  if (!waited) {
    const auto passed = done_.passed();
    stuck_ = !passed || !*passed;
    return give_up(waited);
  }
  if (auto ok = fault_of(comm); !ok) return give_up(ok);
  std::memcpy(hidden.data(), work_.rows_out(), hidden.size_bytes());
  if (settings_.count_loads) take_counts(model, counts);
  return {};
}

}  // namespace ballast::gpu::cuda
