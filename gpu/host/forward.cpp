#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "gpu/host/forward_impl.hpp"

namespace ballast::gpu::host {
namespace {

constexpr std::uint32_t nobody = ~0u;

template <class T>
void at_least(std::vector<T>& v, std::size_t n) {
  if (v.size() < n) v.resize(n);
}

void size_counts(slot_counts& counts, std::uint32_t layers, std::uint32_t slots) {
  counts.tokens.resize(layers);
  for (auto& layer : counts.tokens) layer.resize(slots);
}

std::byte* payload(zmq::message_t& frame) { return static_cast<std::byte*>(frame.data()) + sizeof(frame_head); }

}  // namespace

status forward::run(model_state& state, model_index model, step_t step, std::span<float> hidden,
                    const host_routing& routing, host_communicator& comm, slot_counts& counts) {
  const auto& shape = state.math.shape();
  const auto tokens = static_cast<std::uint32_t>(hidden.size() / shape.hidden);
  step_view v{state, model, hidden, routing, comm, counts, tokens, state.dense()};
  if (comm.step() != step || comm.header_of(comm.rank()).tokens[model] != tokens)
    return comm.give_up(
        {errc::invalid_argument,
         fmt::format("step {} with {} tokens of model {}: the headers were exchanged for step {} with {}", step, tokens,
                     model, comm.step(), comm.header_of(comm.rank()).tokens[model])});
  if (v.dense == nullptr && tokens > 0)
    return comm.give_up({errc::invalid_argument, fmt::format("model {} has no dense weights here yet", model)});

  rank_of_.clear();
  for (const auto seat : routing.seats()) {
    const auto& members = comm.members();
    const auto it = std::lower_bound(members.begin(), members.end(), seat);
    if (it == members.end() || *it != seat)
      return comm.give_up({errc::invalid_argument,
                           fmt::format("placement version {} of model {} names seat {}, which is no member of epoch {}",
                                       routing.version(), model, index_of(seat), comm.epoch())});
    rank_of_.push_back(static_cast<std::uint32_t>(it - members.begin()));
  }
  senders_.assign(comm.size(), false);
  bool any = tokens > 0;
  for (std::uint32_t r = 0; r < comm.size(); ++r) {
    senders_[r] = r != comm.rank() && comm.header_of(r).tokens[model] > 0;
    any = any || senders_[r];
  }
  if (!any) return {};
  size_counts(counts, shape.layers, state.slots.entries_per_layer());
  out_.resize(comm.size());
  returned_.resize(comm.size());
  answers_.clear();  // of a step that broke off
  answers_.resize(comm.size());
  jobs_.resize(state.slots.entries_per_layer());
  pages_.assign(jobs_.size(), nullptr);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer)
    if (auto ok = run_layer(v, layer); !ok) return ok;
  return {};
}

// A member sends to all others when it has tokens, and answers whoever sent it rows: members know from the headers whom
// to wait for, so nobody sends an empty frame just to be heard.
status forward::run_layer(step_view& v, std::uint32_t layer) {
  for (auto& jobs : jobs_) jobs.clear();
  for (auto& o : out_) {
    o.entries.clear();
    o.tokens.clear();
  }
  const auto& math = v.state.math;
  const std::byte* dense = nullptr;
  if (v.tokens > 0) {
    dense = v.dense->bytes.data() + layer * math.dense_bytes();
    const auto values = v.hidden.size();
    at_least(normed_, values);
    at_least(chosen_, std::size_t{v.tokens} * math.shape().top_k);
    math.norm(dense, v.hidden.data(), v.tokens, normed_.data());
    math.route(dense, normed_.data(), v.tokens, chosen_.data(), work_);
    plan_dispatch(v, layer);
    if (auto ok = send_dispatch(v, layer); !ok) return ok;
    at_least(shared_, values);
    math.run_shared(dense, normed_.data(), v.tokens, shared_.data(), work_);  // while the others' rows are on their way
  }
  if (auto ok = v.comm.collect(frame_kind::dispatch, v.model, layer, senders_, inbox_); !ok) return ok;
  if (auto ok = take_jobs(v, layer); !ok) return ok;
  if (auto ok = find_pages(v, layer); !ok) return ok;
  compute(v, layer);
  if (auto ok = send_answers(v, layer); !ok) return ok;
  return v.tokens > 0 ? finish_layer(v, layer) : status{};
}

void forward::plan_dispatch(step_view& v, std::uint32_t layer) {
  const auto top_k = v.state.math.shape().top_k;
  met_.assign(v.state.math.shape().experts, 0);
  at_least(origins_, std::size_t{v.tokens} * top_k);
  for (std::uint32_t t = 0; t < v.tokens; ++t) {
    for (std::uint32_t k = 0; k < top_k; ++k) {
      const auto expert = chosen_[std::size_t{t} * top_k + k].expert;
      const auto n = met_[expert]++ * v.comm.size() + v.comm.rank();  // ranks take turns in one sequence
      const auto where = v.routing.draw(layer, expert, v.comm.step(), n);
      const auto rank = rank_of_[where.seat];
      auto& out = out_[rank];
      if (out.tokens.empty() || out.tokens.back() != t) out.tokens.push_back(t);
      origins_[std::size_t{t} * top_k + k] = {rank, static_cast<std::uint32_t>(out.entries.size())};
      out.entries.push_back({static_cast<std::uint32_t>(out.tokens.size() - 1), where.slot, expert});
    }
  }
}

status forward::send_dispatch(step_view& v, std::uint32_t layer) {
  const auto width = v.state.math.shape().hidden;
  for (std::uint32_t to = 0; to < v.comm.size(); ++to) {
    if (to == v.comm.rank()) continue;
    const auto& out = out_[to];
    const auto entry_bytes = out.entries.size() * sizeof(dispatch_entry);
    const auto row_bytes = std::size_t{width} * sizeof(float);
    auto frame = v.comm.make_frame({.kind = frame_kind::dispatch,
                                    .model = v.model,
                                    .layer = layer,
                                    .entries = static_cast<std::uint32_t>(out.entries.size()),
                                    .rows = static_cast<std::uint32_t>(out.tokens.size()),
                                    .width = width},
                                   entry_bytes + out.tokens.size() * row_bytes);
    auto* at = payload(frame);
    if (entry_bytes > 0) std::memcpy(at, out.entries.data(), entry_bytes);
    at += entry_bytes;
    for (const auto t : out.tokens) {
      std::memcpy(at, normed_.data() + std::size_t{t} * width, row_bytes);
      at += row_bytes;
    }
    if (auto ok = v.comm.post(to, std::move(frame)); !ok) return ok;
  }
  return {};
}

status forward::add_job(step_view& v, std::uint32_t layer, std::uint32_t source, std::uint32_t index,
                        const dispatch_entry& entry, const std::byte* rows, std::uint32_t row_count) {
  const auto seat = index_of(v.comm.members()[source]);
  if (entry.slot >= jobs_.size() || entry.row >= row_count)
    return v.comm.give_up(
        {errc::corrupt, fmt::format("step {} layer {}: seat {} named slot {} of {} and row {} of {}", v.comm.step(),
                                    layer, seat, entry.slot, jobs_.size(), entry.row, row_count)});
  const auto held = v.state.slots.at(layer, entry.slot);
  if (!held.used || held.expert != entry.expert)
    return v.comm.give_up(
        {errc::corrupt, fmt::format("step {} layer {}: seat {} sent a token for expert {} to slot {}, which holds {}",
                                    v.comm.step(), layer, seat, entry.expert, entry.slot,
                                    held.used ? fmt::format("expert {}", held.expert) : std::string("nothing"))});
  jobs_[entry.slot].push_back(
      {source, index, rows + std::size_t{entry.row} * v.state.math.shape().hidden * sizeof(float)});
  return {};
}

status forward::take_jobs(step_view& v, std::uint32_t layer) {
  const auto width = v.state.math.shape().hidden;
  for (std::uint32_t source = 0; source < v.comm.size(); ++source) {
    if (source == v.comm.rank()) continue;
    if (!senders_[source]) continue;
    const auto head = read_as<frame_head>(inbox_[source].data());
    if (head.width != width)
      return v.comm.give_up({errc::corrupt, fmt::format("seat {} sent rows of {} values, the model has {}",
                                                        index_of(v.comm.members()[source]), head.width, width)});
    const auto* at = payload(inbox_[source]);
    const auto* rows = at + std::size_t{head.entries} * sizeof(dispatch_entry);
    for (std::uint32_t i = 0; i < head.entries; ++i) {
      const auto entry = read_as<dispatch_entry>(at + i * sizeof(dispatch_entry));
      if (auto ok = add_job(v, layer, source, i, entry, rows, head.rows); !ok) return ok;
    }
    if (head.entries > 0)
      answers_[source] = v.comm.make_frame(
          {.kind = frame_kind::combine, .model = v.model, .layer = layer, .entries = head.entries, .width = width},
          std::size_t{head.entries} * width * sizeof(float));
  }
  // A token of this rank for an expert of this rank needs no socket: its row is read where it lies.
  const auto self = v.comm.rank();
  auto& own = out_[self];
  for (std::uint32_t i = 0; i < own.entries.size(); ++i) {
    auto entry = own.entries[i];
    entry.row = own.tokens[entry.row];
    const auto* rows = reinterpret_cast<const std::byte*>(normed_.data());
    if (auto ok = add_job(v, layer, self, i, entry, rows, v.tokens); !ok) return ok;
  }
  returned_[self].resize(std::max(returned_[self].size(), own.entries.size() * width));
  return {};
}

// Every page is checked before anything is computed: a step either uses the weights it was meant to use, or none.
status forward::find_pages(step_view& v, std::uint32_t layer) {
  for (std::uint32_t slot = 0; slot < jobs_.size(); ++slot) {
    if (jobs_[slot].empty()) continue;
    const auto held = v.state.slots.at(layer, slot);
    pages_[slot] = v.state.pool.resident(held.page, {layer, held.expert});
    if (pages_[slot] == nullptr)
      return v.comm.give_up(
          {errc::corrupt,
           fmt::format("step {} layer {}: slot {} names page {} for expert {}, which the page does not hold",
                       v.comm.step(), layer, slot, held.page, held.expert)});
  }
  return {};
}

void forward::compute(step_view& v, std::uint32_t layer) {
  const std::size_t width = v.state.math.shape().hidden;
  const auto began = std::chrono::steady_clock::now();
  for (std::uint32_t slot = 0; slot < jobs_.size(); ++slot) {
    const auto& jobs = jobs_[slot];
    if (jobs.empty()) continue;
    at_least(gathered_, jobs.size() * width);
    at_least(computed_, jobs.size() * width);
    for (std::size_t i = 0; i < jobs.size(); ++i)
      std::memcpy(gathered_.data() + i * width, jobs[i].row, width * sizeof(float));
    v.state.math.run_expert(pages_[slot], gathered_.data(), static_cast<std::uint32_t>(jobs.size()), computed_.data(),
                            work_);
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      auto* to = jobs[i].source == v.comm.rank() ? reinterpret_cast<std::byte*>(returned_[jobs[i].source].data())
                                                 : payload(answers_[jobs[i].source]);
      std::memcpy(to + jobs[i].entry * width * sizeof(float), computed_.data() + i * width, width * sizeof(float));
    }
    v.counts.tokens[layer][slot] += jobs.size();
  }
  const auto spent = std::chrono::steady_clock::now() - began;
  v.counts.expert_ns += static_cast<std::uint64_t>(std::chrono::nanoseconds(spent).count());
}

status forward::send_answers(step_view& v, std::uint32_t) {
  for (std::uint32_t to = 0; to < v.comm.size(); ++to) {
    if (to == v.comm.rank() || !senders_[to] || answers_[to].size() == 0) continue;
    if (auto ok = v.comm.post(to, std::move(answers_[to])); !ok) return ok;
    answers_[to].rebuild();
  }
  return {};
}

status forward::finish_layer(step_view& v, std::uint32_t layer) {
  const std::size_t width = v.state.math.shape().hidden;
  const auto top_k = v.state.math.shape().top_k;
  repliers_.assign(v.comm.size(), false);
  for (std::uint32_t r = 0; r < v.comm.size(); ++r) repliers_[r] = r != v.comm.rank() && !out_[r].entries.empty();
  if (auto ok = v.comm.collect(frame_kind::combine, v.model, layer, repliers_, inbox_); !ok) return ok;
  for (std::uint32_t r = 0; r < v.comm.size(); ++r) {
    if (!repliers_[r]) continue;
    const auto bytes = out_[r].entries.size() * width * sizeof(float);
    if (inbox_[r].size() - sizeof(frame_head) != bytes)
      return v.comm.give_up(
          {errc::corrupt, fmt::format("step {} layer {}: seat {} answered {} bytes for {}", v.comm.step(), layer,
                                      index_of(v.comm.members()[r]), inbox_[r].size() - sizeof(frame_head), bytes)});
    at_least(returned_[r], out_[r].entries.size() * width);
    std::memcpy(returned_[r].data(), payload(inbox_[r]), bytes);  // a received frame need not be aligned for floats
  }
  std::vector<const float*> outs(top_k);
  const bool has_shared = v.state.math.shape().shared_intermediate != 0;
  for (std::size_t t = 0; t < v.tokens; ++t) {
    for (std::uint32_t k = 0; k < top_k; ++k) {
      const auto& from = origins_[t * top_k + k];
      outs[k] = returned_[from.rank].data() + from.entry * width;
    }
    v.state.math.combine(v.hidden.data() + t * width, chosen_.data() + t * top_k, outs.data(),
                         has_shared ? shared_.data() + t * width : nullptr);
  }
  return {};
}

}  // namespace ballast::gpu::host
