#include <fmt/core.h>

#include <zmq.hpp>

#include "gpu/host/forward_impl.hpp"
#include "gpu/host/host_backend.hpp"
#include "gpu/host/host_builder_impl.hpp"
#include "gpu/host/host_transport_impl.hpp"

namespace ballast::gpu::host {
namespace {

class host_device final : public device {
 public:
  static result<std::unique_ptr<device>> make(const device_options& options);

  page_pool& pages(model_index model) override { return models_.at(model)->pool; }
  slot_table& slots(model_index model) override { return models_.at(model)->slots; }
  weight_transport& transport() override { return *transport_; }
  communicator_builder& builder() override { return *builder_; }
  status set_dense(model_index model, std::vector<std::byte> weights) override;
  bool has_dense(model_index model) const override {
    return model < models_.size() && models_[model]->dense() != nullptr;
  }
  result<std::shared_ptr<const routing_table>> make_routing(const placement& table) const override;
  status run_step(model_index model, step_t step, std::span<float> hidden, const routing_table& routing,
                  communicator& comm, slot_counts& counts) override;

 private:
  host_device() = default;

  std::unique_ptr<zmq::context_t> own_context_;  // only when the process lends none
  std::optional<wire_context> wires_;
  model_states models_;
  std::uint32_t max_batch_tokens_ = 0;
  std::unique_ptr<host_builder> builder_;
  std::unique_ptr<host_transport> transport_;  // its thread reads models_: it goes first
  forward forward_;
};

status check_options(const device_options& o) {
  if (o.models.empty() || o.models.size() > max_models)
    return fail(errc::invalid_argument,
                fmt::format("a device serves 1 to {} models, not {}", max_models, o.models.size()));
  if (o.limits.models.size() != o.models.size())
    return fail(errc::invalid_argument,
                fmt::format("{} capacities for {} models", o.limits.models.size(), o.models.size()));
  for (std::size_t m = 0; m < o.models.size(); ++m) {
    if (auto ok = check(o.models[m]); !ok)
      return fail(errc::invalid_argument, fmt::format("model {}: {}", m, ok.error().text));
    if (o.limits.models[m].slots_per_layer == 0)
      return fail(errc::invalid_argument,
                  fmt::format("model {}: slots_per_layer is 0; a rank holds at least one expert a layer", m));
  }
  return {};
}

result<std::unique_ptr<device>> host_device::make(const device_options& o) {
  if (auto ok = check_options(o); !ok) return fail(std::move(ok.error()));
  std::unique_ptr<host_device> made(new host_device);
  made->max_batch_tokens_ = o.limits.max_batch_tokens;
  comm_limits limits{{}, o.limits.collective_timeout};
  try {
    for (std::size_t m = 0; m < o.models.size(); ++m) {
      made->models_.push_back(std::make_unique<model_state>(o.models[m], o.limits.models[m]));
      limits.layers.push_back(o.models[m].layers);
    }
    if (o.link_context == nullptr) made->own_context_ = std::make_unique<zmq::context_t>();
  } catch (const std::bad_alloc&) {
    return fail(errc::does_not_fit, "not enough memory for the page pools; lower slots_per_layer or spare_pages");
  } catch (const zmq::error_t& e) {
    return fail(errc::io, fmt::format("no ZeroMQ context: {}", e.what()));
  }
  auto& lent = o.link_context != nullptr ? *static_cast<zmq::context_t*>(o.link_context) : *made->own_context_;
  const auto& context = made->wires_.emplace(wire_context{lent, o.guard});
  const address_pattern pattern{o.bind, o.advertise};
  made->builder_ = std::make_unique<host_builder>(context, pattern, std::move(limits));
  auto transport = host_transport::open(context, pattern, made->models_, o.limits.pull_bytes_per_s);
  if (!transport) return fail(transport.error());
  made->transport_ = std::move(*transport);
  return made;
}

status host_device::set_dense(model_index model, std::vector<std::byte> weights) {
  if (model >= models_.size())
    return fail(errc::invalid_argument, fmt::format("model {} of {}", model, models_.size()));
  const auto& math = models_[model]->math;
  if (weights.size() != math.dense_bytes() * math.shape().layers)
    return fail(errc::invalid_argument,
                fmt::format("{} bytes of dense weights; {} layers of model {} take {}", weights.size(),
                            math.shape().layers, model, math.dense_bytes() * math.shape().layers));
  const auto sum = checksum_of(weights);
  models_[model]->set_dense(std::make_shared<const dense_blob>(dense_blob{std::move(weights), sum}));
  return {};
}

result<std::shared_ptr<const routing_table>> host_device::make_routing(const placement& table) const {
  if (table.model >= models_.size())
    return fail(errc::invalid_argument,
                fmt::format("placement of model {}; this device has {}", table.model, models_.size()));
  return host_routing::make(table, models_[table.model]->math.shape());
}

status host_device::run_step(model_index model, step_t step, std::span<float> hidden, const routing_table& routing,
                             communicator& comm, slot_counts& counts) {
  auto* links = dynamic_cast<host_communicator*>(&comm);
  const auto* table = dynamic_cast<const host_routing*>(&routing);
  if (links == nullptr || table == nullptr)
    return fail(errc::invalid_argument, "the communicator or the routing table is of another backend");
  const auto refuse = [&](std::string why) { return links->give_up({errc::invalid_argument, std::move(why)}); };
  if (model >= models_.size()) return refuse(fmt::format("step of model {} of {}", model, models_.size()));
  if (table->source().model != model)
    return refuse(fmt::format("step of model {} with a placement of model {}", model, table->source().model));
  const auto width = models_[model]->math.shape().hidden;
  if (hidden.size() % width != 0 || hidden.size() / width > max_batch_tokens_)
    return refuse(
        fmt::format("{} values are no batch of at most {} tokens of {}", hidden.size(), max_batch_tokens_, width));
  return forward_.run(*models_[model], model, step, hidden, *table, *links, counts);
}

class host_backend final : public backend {
 public:
  const char* name() const noexcept override { return "host"; }
  result<std::unique_ptr<device>> make_device(const device_options& options) override {
    return host_device::make(options);
  }
};

}  // namespace

std::unique_ptr<backend> make_host_backend() { return std::make_unique<host_backend>(); }

}  // namespace ballast::gpu::host
