#include <fmt/core.h>

#include <algorithm>

#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/cuda_builder_impl.hpp"
#include "gpu/cuda/cuda_transport_impl.hpp"
#include "gpu/cuda/forward_impl.hpp"
#include "messages/log.hpp"

namespace ballast::gpu::cuda {
namespace {

class cuda_device final : public device {
 public:
  static result<std::unique_ptr<device>> make(const device_options& options);
  // What is freed on a thread that stands elsewhere would begin a context there.
  ~cuda_device() override { (void)stand_on(ordinal_); }

  page_pool& pages(model_index model) override { return stores_.at(model)->pool(); }
  slot_table& slots(model_index model) override { return *models_.at(model).slots; }
  weight_transport& transport() override { return *transport_; }
  communicator_builder& builder() override { return *builder_; }
  status set_dense(model_index model, std::vector<std::byte> weights) override;
  bool has_dense(model_index model) const override {
    return model < stores_.size() && stores_[model]->dense() != nullptr;
  }
  result<std::shared_ptr<const routing_table>> make_routing(const placement& table) const override;
  status run_step(model_index model, step_t step, std::span<float> hidden, const routing_table& routing,
                  communicator& comm, slot_counts& counts) override;

 private:
  struct model_state {
    moe_shape shape;
    std::unique_ptr<cuda_slot_table> slots;
    std::unique_ptr<dense_weights> dense;
    std::shared_ptr<routing_images> images;
  };
  explicit cuda_device(int ordinal) : ordinal_(ordinal) {}
  status add_model(const moe_shape& shape, const model_capacity& capacity, std::uint32_t members);
  status open_links(const device_options& options);
  status open_forward(const device_options& options);

  const int ordinal_;
  std::uint32_t max_batch_tokens_ = 0;
  std::unique_ptr<zmq::context_t> own_context_;  // only when the process lends none
  std::optional<host::wire_context> wires_;
  cuda_model_stores stores_;
  std::vector<model_state> models_;
  std::unique_ptr<exchange_memory> exchange_;
  std::unique_ptr<host::host_builder> links_;
  std::unique_ptr<cuda_forward> forward_;
  std::unique_ptr<nccl_exchange> nccl_;
  std::unique_ptr<cuda_builder> builder_;
  std::unique_ptr<cuda_transport> transport_;  // its thread reads stores_: it goes first
};

// What the kernels of this backend compute.
status check_shape(const moe_shape& s) {
  const auto refuse = [](const std::string& why) { return fail(errc::invalid_argument, "backend cuda: " + why); };
  if (auto ok = check(s); !ok) return ok;
  if (s.expert_type != dtype::bf16 && s.expert_type != dtype::f8_e4m3)
    return refuse("experts must be bf16 or f8_e4m3; convert the checkpoint, or serve it on the host backend");
  if (s.top_k > max_top_k) return refuse(fmt::format("top_k must be at most {}, not {}", max_top_k, s.top_k));
  if (s.experts > max_experts) return refuse(fmt::format("experts must be at most {}, not {}", max_experts, s.experts));
  if (s.groups > 32) return refuse(fmt::format("groups must be at most 32, not {}", s.groups));
  if (s.hidden > 16384) return refuse(fmt::format("hidden must be at most 16384, not {}", s.hidden));
  if (s.expert_type == dtype::f8_e4m3 && s.scale_block % 32 != 0)
    return refuse(fmt::format("scale_block must be a multiple of 32, not {}", s.scale_block));
  if (s.expert_type == dtype::f8_e4m3 && (s.hidden % 16 != 0 || s.intermediate % 16 != 0))
    return refuse(fmt::format("hidden and intermediate of f8_e4m3 must be multiples of 16, not {} and {}", s.hidden,
                              s.intermediate));
  return {};
}

status check_options(const device_options& o) {
  const auto refuse = [](const std::string& why) { return fail(errc::invalid_argument, "backend cuda: " + why); };
  if (o.models.empty() || o.models.size() > max_models)
    return refuse(fmt::format("a device serves 1 to {} models, not {}", max_models, o.models.size()));
  if (o.limits.models.size() != o.models.size())
    return refuse(fmt::format("{} capacities for {} models", o.limits.models.size(), o.models.size()));
  if (o.limits.max_members == 0 || o.limits.max_members > max_members)
    return refuse(fmt::format("max_members must be between 1 and {}, not {}", max_members, o.limits.max_members));
  for (std::size_t m = 0; m < o.models.size(); ++m) {
    if (auto ok = check_shape(o.models[m]); !ok)
      return fail(ok.error().code, fmt::format("model {}: {}", m, ok.error().text));
    const auto entries = slot_entries(o.limits.models[m]);
    if (o.limits.models[m].slots_per_layer == 0 || entries > max_entries)
      return refuse(
          fmt::format("model {}: slots_per_layer must be at least 1, and with spare_pages at most {}; it is {} "
                      "with {}",
                      m, max_entries, o.limits.models[m].slots_per_layer, o.limits.models[m].spare_pages));
  }
  return {};
}

result<int> choose_gpu(const device_options& o) {
  auto count = device_count();
  if (!count) return fail(errc::unavailable, "backend cuda: no usable GPU: " + count.error().text);
  if (*count == 0) return fail(errc::unavailable, "backend cuda: this machine shows no GPU");
  return static_cast<int>((o.first_gpu + o.local_rank) % static_cast<std::uint32_t>(*count));
}

result<std::unique_ptr<device>> cuda_device::make(const device_options& o) {
  if (auto ok = check_options(o); !ok) return fail(ok.error());
  const auto ordinal = choose_gpu(o);
  if (!ordinal) return fail(ordinal.error());
  if (auto ok = stand_on(*ordinal); !ok) return fail(ok.error());
  std::unique_ptr<cuda_device> made(new cuda_device(*ordinal));
  made->max_batch_tokens_ = o.limits.max_batch_tokens;
  for (std::size_t m = 0; m < o.models.size(); ++m)
    if (auto ok = made->add_model(o.models[m], o.limits.models[m], o.limits.max_members); !ok) return fail(ok.error());
  if (auto ok = made->open_forward(o); !ok) return fail(ok.error());
  if (auto ok = made->open_links(o); !ok) return fail(ok.error());
  log::info("rank {} stands on GPU {}", o.local_rank, *ordinal);
  return made;
}

status cuda_device::add_model(const moe_shape& shape, const model_capacity& capacity, std::uint32_t members) {
  auto pool = cuda_page_pool::make(ordinal_, expert_layout(shape).bytes,
                                   shape.layers * capacity.slots_per_layer + capacity.spare_pages);
  if (!pool) return fail(pool.error());
  stores_.push_back(std::make_unique<cuda_model_store>(std::move(*pool), dense_layout(shape).bytes * shape.layers));
  auto slots = cuda_slot_table::make(shape.layers, slot_entries(capacity), stores_.back()->pool());
  if (!slots) return fail(slots.error());
  auto dense = dense_weights::make(shape);
  if (!dense) return fail(dense.error());
  const auto most_copies = std::size_t{members} * std::min(shape.experts, slot_entries(capacity));
  auto images = routing_images::make(ordinal_, shape, std::max<std::size_t>(most_copies, shape.experts) * shape.layers);
  if (!images) return fail(images.error());
  models_.push_back({shape, std::move(*slots), std::move(*dense), std::move(*images)});
  return {};
}

status cuda_device::open_forward(const device_options& o) {
  cuda_forward::settings s;
  for (auto& m : models_) s.models.push_back({m.shape, m.slots.get(), m.dense.get()});
  s.max_tokens = o.limits.max_batch_tokens;
  s.members = o.limits.max_members;
  s.timeout = o.limits.collective_timeout;
  s.count_loads = o.limits.count_loads;
  auto forward = cuda_forward::make(std::move(s));
  if (!forward) return fail(forward.error());
  forward_ = std::move(*forward);
  for (model_index m = 0; m < models_.size(); ++m)
    if (auto ok = forward_->prepare(m); !ok) return ok;
  auto exchange =
      exchange_memory::make(ordinal_, shape_exchange(o.models, o.limits.max_batch_tokens, o.limits.max_members));
  if (!exchange) return fail(exchange.error());
  exchange_ = std::move(*exchange);
  nccl_ = std::make_unique<nccl_exchange>(ordinal_, *exchange_, forward_->recipe(), o.nccl_ctas);
  return o.exchange == exchange_kind::nccl ? nccl_->prepare() : status{};
}

status cuda_device::open_links(const device_options& o) {
  try {
    if (o.link_context == nullptr) own_context_ = std::make_unique<zmq::context_t>();
  } catch (const std::exception& e) {
    return fail(errc::io, fmt::format("cannot make a ZeroMQ context: {}", e.what()));
  }
  auto& lent = own_context_ ? *own_context_ : *static_cast<zmq::context_t*>(o.link_context);
  const auto& context = wires_.emplace(host::wire_context{lent, o.guard});
  host::comm_limits limits{{}, o.limits.collective_timeout};
  for (const auto& m : o.models) limits.layers.push_back(m.layers);
  const host::address_pattern pattern{o.bind, o.advertise};
  links_ = std::make_unique<host::host_builder>(context, pattern, limits);
  auto builder = cuda_builder::make(ordinal_, *links_, *exchange_, *nccl_, o.exchange);
  if (!builder) return fail(builder.error());
  builder_ = std::move(*builder);
  auto transport = cuda_transport::open(context, pattern, stores_,
                                        {.ordinal = ordinal_,
                                         .bytes_per_s = o.limits.pull_bytes_per_s,
                                         .piece_bytes = o.limits.pull_piece_bytes,
                                         .rhythm = o.limits.pull_by_rhythm ? forward_->rhythm() : nullptr,
                                         .verify = o.limits.verify_pages});
  if (!transport) return fail(transport.error());
  transport_ = std::move(*transport);
  return {};
}

status cuda_device::set_dense(model_index model, std::vector<std::byte> weights) {
  if (model >= models_.size())
    return fail(errc::invalid_argument, fmt::format("dense weights of model {} of {}", model, models_.size()));
  auto& m = models_[model];
  const auto wanted = stores_[model]->dense_bytes();
  if (weights.size() != wanted)
    return fail(errc::invalid_argument,
                fmt::format("{} bytes are not the dense weights of {} layers of model {}, which have {}",
                            weights.size(), m.shape.layers, model, wanted));
  if (auto ok = stand_on(ordinal_); !ok) return ok;
  if (auto ok = m.dense->load(weights); !ok) return ok;
  return stores_[model]->set_dense(std::move(weights));
}

result<std::shared_ptr<const routing_table>> cuda_device::make_routing(const placement& table) const {
  if (table.model >= models_.size())
    return fail(errc::invalid_argument,
                fmt::format("placement of model {}; this device has {}", table.model, models_.size()));
  return models_[table.model].images->load(table);
}

status cuda_device::run_step(model_index model, step_t step, std::span<float> hidden, const routing_table& routing,
                             communicator& comm, slot_counts& counts) {
  auto* links = dynamic_cast<cuda_communicator*>(&comm);
  const auto* table = dynamic_cast<const cuda_routing*>(&routing);
  if (links == nullptr || table == nullptr)
    return fail(errc::invalid_argument, "the communicator or the routing table is of another backend");
  const auto refuse = [&](std::string why) { return links->links().give_up({errc::invalid_argument, std::move(why)}); };
  if (model >= models_.size()) return refuse(fmt::format("step of model {} of {}", model, models_.size()));
  if (table->source().model != model)
    return refuse(fmt::format("step of model {} with a placement of model {}", model, table->source().model));
  const auto width = models_[model].shape.hidden;
  if (hidden.size() % width != 0 || hidden.size() / width > max_batch_tokens_)
    return refuse(
        fmt::format("{} values are no batch of at most {} tokens of {}", hidden.size(), max_batch_tokens_, width));
  if (!has_dense(model)) return refuse(fmt::format("model {} has no dense weights here yet", model));
  if (auto ok = stand_on(ordinal_); !ok) return ok;
  return forward_->run(model, step, hidden, *table, *links, counts);
}

class cuda_backend final : public backend {
 public:
  const char* name() const noexcept override { return "cuda"; }
  result<std::unique_ptr<device>> make_device(const device_options& options) override {
    return cuda_device::make(options);
  }
};

}  // namespace

std::unique_ptr<backend> make_cuda_backend() { return std::make_unique<cuda_backend>(); }

}  // namespace ballast::gpu::cuda
