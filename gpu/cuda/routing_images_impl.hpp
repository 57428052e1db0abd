// Routing tables in device memory: filled before they are used, so that taking one into use is passing a pointer.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "gpu/cuda/runtime_impl.hpp"
#include "gpu/cuda/views.hpp"
#include "gpu/host/routing.hpp"

namespace ballast::gpu::cuda {

class routing_images;

// Gives its image back when it goes.
class cuda_routing final : public routing_table {
 public:
  cuda_routing(std::shared_ptr<const host::host_routing> table, std::shared_ptr<routing_images> home, std::size_t image)
      : table_(std::move(table)), home_(std::move(home)), image_(image) {}
  ~cuda_routing() override;
  version_t version() const noexcept override { return table_->version(); }
  const placement& source() const noexcept override { return table_->source(); }
  const std::vector<seat_id>& seats() const noexcept { return table_->seats(); }
  routing_view view() const noexcept;

 private:
  std::shared_ptr<const host::host_routing> table_;
  std::shared_ptr<routing_images> home_;
  std::size_t image_;
};

// A model's images, allocated at start. Threads: any.
class routing_images : public std::enable_shared_from_this<routing_images> {
 public:
  static constexpr std::size_t images = 16;  // in use, prepared or on their way to a rank
  // `copies`: the most replicas that a table may name over all layers.
  static result<std::shared_ptr<routing_images>> make(int ordinal, const moe_shape& shape, std::size_t copies);
  // Waits for a copy engine. Errors: those of host_routing::make; does_not_fit (replicas, images).
  result<std::shared_ptr<const routing_table>> load(const placement& table);

 private:
  friend class cuda_routing;
  routing_images(int ordinal, const moe_shape& shape, std::size_t copies)
      : ordinal_(ordinal), shape_(shape), copies_(copies), places_(std::size_t{shape.layers} * shape.experts + 1) {}
  std::size_t copies_offset() const noexcept { return (places_ * sizeof(std::uint32_t) + 63) / 64 * 64; }
  std::size_t stride() const noexcept { return (copies_offset() + copies_ * sizeof(copy_view) + 255) / 256 * 256; }
  routing_view view(std::size_t image) const noexcept;
  status upload(const host::host_routing& table, std::size_t image);
  void give_back(std::size_t image);

  const int ordinal_;
  const moe_shape shape_;
  const std::size_t copies_, places_;
  memory device_, staging_;
  stream stream_;
  std::mutex mutex_;  // guards free_, and staging_ with its stream
  std::vector<std::size_t> free_;
};

}  // namespace ballast::gpu::cuda
