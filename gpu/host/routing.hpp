// A placement as the forward reads it.
#pragma once

#include <memory>
#include <vector>

#include "gpu/device.hpp"

namespace ballast::gpu::host {

class host_routing final : public routing_table {
 public:
  // Errors: invalid_argument (wrong shape, an expert without a replica, shares that are not positive).
  static result<std::shared_ptr<const host_routing>> make(const placement& table, const moe_shape& shape);

  version_t version() const noexcept override { return source_.version; }
  const placement& source() const noexcept override { return source_; }
  const std::vector<seat_id>& seats() const noexcept { return seats_; }  // distinct, sorted

  struct target {
    std::uint32_t seat = 0;  // position in seats()
    std::uint32_t slot = 0;
  };
  // Where the n-th token of (layer, expert) in a step goes. Over n the replicas are met in proportion to their shares,
  // as evenly as a golden-ratio sequence does it; every step starts elsewhere.
  target draw(std::uint32_t layer, std::uint32_t expert, step_t step, std::uint64_t n) const noexcept;

  // As it lies in memory: the copies of (layer, expert) are copies()[first()[layer * experts + expert]] and on, up to
  // the next one's first.
  struct copy {
    target where;
    std::uint64_t below = 0;  // drawn when the point is under this; the last copy takes the rest
  };
  const std::vector<std::size_t>& first() const noexcept { return first_; }
  const std::vector<copy>& copies() const noexcept { return copies_; }

 private:
  host_routing(placement table, std::uint32_t experts);
  status fill();

  placement source_;
  std::uint32_t experts_;
  std::vector<seat_id> seats_;
  std::vector<std::size_t> first_;  // [layer * experts + expert] -> copies_
  std::vector<copy> copies_;
};

}  // namespace ballast::gpu::host
