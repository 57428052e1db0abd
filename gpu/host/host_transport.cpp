#include <fmt/core.h>

#include "gpu/host/host_transport_impl.hpp"

namespace ballast::gpu::host {

result<std::unique_ptr<host_transport>> host_transport::open(const wire_context& context, const address_pattern& pattern,
                                                             model_states& models, std::uint64_t bytes_per_s) {
  std::unique_ptr<host_transport> made(new host_transport(context, models, bytes_per_s));
  auto server = request_server::start(context, pattern, made->answerer_);
  if (!server) return fail(server.error());
  made->server_ = std::move(*server);
  return made;
}

result<std::uint64_t> host_transport::pull(const std::string& source, model_index model, page_key key, page_index page,
                                           std::chrono::milliseconds deadline) {
  const cancellation::scope under_way(stop_);
  return pull_one(source, {model, key, page}, deadline);
}

pull_results host_transport::pull_many(const std::string& source, std::span<const pull_item> items,
                                       std::chrono::milliseconds deadline) {
  const cancellation::scope under_way(stop_);
  return one_by_one(items, [&](const pull_item& item) { return pull_one(source, item, deadline); });
}

result<std::uint64_t> host_transport::pull_one(const std::string& source, const pull_item& item,
                                               std::chrono::milliseconds deadline) {
  if (item.model >= models_.size())
    return fail(errc::not_found, fmt::format("model {} of {}", item.model, models_.size()));
  auto& pool = models_[item.model]->pool;
  const auto sum = puller_.bring_page(
      source, item.model, item.key, pool.page_bytes(),
      [&](std::size_t offset, std::span<const std::byte> piece) { return pool.write_at(item.page, offset, piece); },
      deadline);
  if (!sum) return fail(sum.error());
  if (auto ok = pool.seal(item.page, item.key, *sum); !ok)
    return fail(ok.error().code, fmt::format("{} (pulled from {})", ok.error().text, source));
  return pool.page_bytes();
}

result<std::vector<std::byte>> host_transport::pull_dense(const std::string& source, model_index model,
                                                          std::chrono::milliseconds deadline) {
  if (model >= models_.size()) return fail(errc::not_found, fmt::format("model {} of {}", model, models_.size()));
  const cancellation::scope under_way(stop_);
  const auto& math = models_[model]->math;
  return puller_.bring_dense(source, model, math.dense_bytes() * math.shape().layers, deadline);
}

}  // namespace ballast::gpu::host
