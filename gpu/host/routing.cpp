#include "gpu/host/routing.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace ballast::gpu::host {
namespace {

constexpr std::uint64_t golden = 0x9e37'79b9'7f4a'7c15u;  // 2^64 / golden ratio

std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58'476d'1ce4'e5b9u;
  x = (x ^ (x >> 27)) * 0x94d0'49bb'1331'11ebu;
  return x ^ (x >> 31);
}

}  // namespace

host_routing::host_routing(placement table, std::uint32_t experts) : source_(std::move(table)), experts_(experts) {}

result<std::shared_ptr<const host_routing>> host_routing::make(const placement& table, const moe_shape& shape) {
  if (table.layers.size() != shape.layers)
    return fail(errc::invalid_argument, fmt::format("placement of model {} has {} layers, the model {}", table.model,
                                                    table.layers.size(), shape.layers));
  for (std::size_t layer = 0; layer < table.layers.size(); ++layer)
    if (table.layers[layer].size() != shape.experts)
      return fail(errc::invalid_argument, fmt::format("placement of model {} layer {} has {} experts, the model {}",
                                                      table.model, layer, table.layers[layer].size(), shape.experts));
  const std::shared_ptr<host_routing> made(new host_routing(table, shape.experts));
  if (auto ok = made->fill(); !ok) return fail(std::move(ok.error()));
  return made;
}

status host_routing::fill() {
  for (const auto& layer : source_.layers)
    for (const auto& replicas : layer)
      for (const auto& r : replicas) seats_.push_back(r.seat);
  std::sort(seats_.begin(), seats_.end());
  seats_.erase(std::unique(seats_.begin(), seats_.end()), seats_.end());

  for (std::size_t layer = 0; layer < source_.layers.size(); ++layer) {
    for (std::size_t expert = 0; expert < experts_; ++expert) {
      const auto& replicas = source_.layers[layer][expert];
      if (replicas.empty())
        return fail(errc::invalid_argument,
                    fmt::format("placement version {} of model {}: layer {} expert {} has no replica", source_.version,
                                source_.model, layer, expert));
      double sum = 0;
      for (const auto& r : replicas) {
        if (!(std::isfinite(r.share) && r.share > 0))
          return fail(errc::invalid_argument,
                      fmt::format("placement version {} of model {}: layer {} expert {} on seat {} has share {}",
                                  source_.version, source_.model, layer, expert, index_of(r.seat), r.share));
        sum += r.share;
      }
      first_.push_back(copies_.size());
      double upto = 0;
      for (const auto& r : replicas) {
        upto += r.share / sum;
        const auto seat = std::lower_bound(seats_.begin(), seats_.end(), r.seat) - seats_.begin();
        const auto below = static_cast<std::uint64_t>(std::min(upto, 1 - 0x1p-53) * 0x1p64);
        copies_.push_back({{static_cast<std::uint32_t>(seat), r.slot}, below});
      }
    }
  }
  first_.push_back(copies_.size());
  return {};
}

host_routing::target host_routing::draw(std::uint32_t layer, std::uint32_t expert, step_t step,
                                        std::uint64_t n) const noexcept {
  const auto place = std::size_t{layer} * experts_ + expert;
  auto at = first_[place];
  const auto last = first_[place + 1] - 1;
  if (at == last) return copies_[at].where;
  const auto point = mix(step * golden + place) + n * golden;
  while (at < last && point >= copies_[at].below) ++at;
  return copies_[at].where;
}

}  // namespace ballast::gpu::host
