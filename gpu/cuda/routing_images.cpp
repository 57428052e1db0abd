#include <fmt/core.h>

#include <algorithm>

#include "gpu/cuda/routing_images_impl.hpp"

namespace ballast::gpu::cuda {

cuda_routing::~cuda_routing() { home_->give_back(image_); }

routing_view cuda_routing::view() const noexcept { return home_->view(image_); }

result<std::shared_ptr<routing_images>> routing_images::make(int ordinal, const moe_shape& shape, std::size_t copies) {
  std::shared_ptr<routing_images> made(new routing_images(ordinal, shape, copies));
  auto device = memory::make(memory_kind::device, images * made->stride(), "routing tables");
  if (!device) return fail(device.error());
  auto staging = memory::make(memory_kind::pinned, made->stride(), "routing tables");
  if (!staging) return fail(staging.error());
  auto copying = stream::make(true);
  if (!copying) return fail(copying.error());
  made->device_ = std::move(*device);
  made->staging_ = std::move(*staging);
  made->stream_ = std::move(*copying);
  for (std::size_t i = images; i-- > 0;) made->free_.push_back(i);
  return made;
}

routing_view routing_images::view(std::size_t image) const noexcept {
  const auto at = image * stride();
  return {device_.as<std::uint32_t>(at), device_.as<copy_view>(at + copies_offset())};
}

void routing_images::give_back(std::size_t image) {
  const std::lock_guard lock(mutex_);
  free_.push_back(image);
}

result<std::shared_ptr<const routing_table>> routing_images::load(const placement& table) {
  auto made = host::host_routing::make(table, shape_);
  if (!made) return fail(made.error());
  const auto& copies = (*made)->copies();
  if (copies.size() > copies_)
    return fail(errc::does_not_fit,
                fmt::format("placement version {} of model {} names {} replicas; this rank's tables "
                            "have room for {}; start it with more max_members",
                            table.version, table.model, copies.size(), copies_));
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  const std::lock_guard lock(mutex_);
  if (free_.empty())
    return fail(errc::does_not_fit, fmt::format("{} routing tables of model {} are in use", images, table.model));
  const auto image = free_.back();
  if (auto ok = upload(**made, image); !ok) return fail(ok.error());
  free_.pop_back();
  return std::make_shared<cuda_routing>(std::move(*made), shared_from_this(), image);
}

status routing_images::upload(const host::host_routing& table, std::size_t image) {
  auto* first = staging_.as<std::uint32_t>();
  for (const auto at : table.first()) *first++ = static_cast<std::uint32_t>(at);
  auto* copy = staging_.as<copy_view>(copies_offset());
  for (const auto& c : table.copies()) *copy++ = {c.below, c.where.seat, c.where.slot};
  const auto bytes = copies_offset() + table.copies().size() * sizeof(copy_view);
  const auto code =
      cudaMemcpyAsync(device_.data() + image * stride(), staging_.data(), bytes, cudaMemcpyHostToDevice, stream_.get());
  if (auto ok = check(code, "copying a routing table"); !ok) return ok;
  return stream_.wait();
}

}  // namespace ballast::gpu::cuda
