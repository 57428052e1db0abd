#include "policies/c_api/plain_arrays.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace ballast::policies::c_api {

namespace {

tl::unexpected<error> bad(const std::string& text) { return fail(errc::invalid_argument, text); }

template <class T>
result<T> copy_known(const T* given, const char* name) {
  if (given == nullptr) return bad(std::string(name) + " is null");
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (size <= sizeof size) {
    return bad(std::string(name) + ": size is " + std::to_string(size) + "; set it to sizeof(ballast_" + name + ")");
  }
  T out{};
  std::memcpy(&out, given, std::min(size, sizeof out));
  return out;
}

}  // namespace

result<ballast_shape> known(const ballast_shape* shape) { return copy_known(shape, "shape"); }
result<ballast_loads> known(const ballast_loads* loads) { return copy_known(loads, "loads"); }

result<cluster> cluster_of(const ballast_shape* given) {
  const auto shape = known(given);
  if (!shape) return fail(shape.error());
  if (shape->layers == 0 || shape->experts == 0) return bad("shape: no layers or no experts");
  if (shape->ranks == 0 || shape->slots == nullptr) return bad("shape: no ranks, or no slots of theirs");
  cluster out{shape->layers, shape->experts, std::max(1U, shape->groups), {}, {0}};
  if (shape->experts > static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max()))
    return bad("shape: " + std::to_string(shape->experts) + " experts are more than a map can name");
  for (std::uint32_t r = 0; r < shape->ranks; ++r) {
    const auto slots = shape->slots[r];
    if (slots > std::numeric_limits<std::uint32_t>::max() - out.first.back())
      return bad("shape: the slots of rank " + std::to_string(r) + " and those before it are too many to count");
    const double speed = shape->speeds == nullptr ? 1.0 : shape->speeds[r];
    if (!std::isfinite(speed) || speed <= 0)
      return bad("shape: speed of rank " + std::to_string(r) + " is not a number > 0");
    out.first.push_back(out.first.back() + slots);
    out.seats.push_back({seat_id{r}, shape->nodes == nullptr ? 0 : shape->nodes[r], speed, {slots, 0}});
  }
  return out;
}

status check_room(const cluster& c) {
  std::uint64_t room = 0;
  for (const auto& seat : c.seats) room += std::min(seat.capacity.slots_per_layer, c.experts);
  if (room >= c.experts) return {};
  return fail(errc::does_not_fit, "shape: " + std::to_string(c.experts) + " experts a layer, but " +
                                      std::to_string(c.seats.size()) + " ranks hold " + std::to_string(room) +
                                      "; add ranks or slots");
}

load_matrix matrix_of(const cluster& c, const double* loads) {
  load_matrix out;
  if (loads == nullptr) return out;
  for (std::uint32_t layer = 0; layer < c.layers; ++layer, loads += c.experts)
    out.emplace_back(loads, loads + c.experts);
  return out;
}

std::vector<load_matrix> matrices_of(const cluster& c, const double* loads, std::uint32_t count) {
  std::vector<load_matrix> out;
  for (std::uint32_t k = 0; k < count; ++k, loads += std::size_t{c.layers} * c.experts)
    out.push_back(matrix_of(c, loads));
  return out;
}

result<placement> placement_of(const cluster& c, const std::int32_t* map, const double* shares) {
  if (map == nullptr) return bad("map is null");
  placement out;
  out.layers.resize(c.layers, layer_placement(c.experts));
  for (std::uint32_t layer = 0; layer < c.layers; ++layer) {
    auto& experts = out.layers[layer];
    for (std::uint32_t r = 0; r < c.seats.size(); ++r) {
      for (auto k = c.first[r]; k < c.first[r + 1]; ++k) {
        const auto at = layer * c.slots() + k;
        if (map[at] == -1) continue;
        if (map[at] < 0 || map[at] >= static_cast<std::int64_t>(c.experts)) {
          return bad("map: layer " + std::to_string(layer) + ", rank " + std::to_string(r) + ", slot " +
                     std::to_string(k - c.first[r]) + " names expert " + std::to_string(map[at]) + "; there are " +
                     std::to_string(c.experts));
        }
        experts[static_cast<std::size_t>(map[at])].push_back(
            {seat_id{r}, k - c.first[r], shares == nullptr ? 0.0 : shares[at]});
      }
    }
    if (shares != nullptr) continue;
    for (auto& replicas : experts) {
      for (auto& one : replicas) one.share = 1.0 / static_cast<double>(replicas.size());
    }
  }
  return out;
}

status check_map(const cluster& c, const placement& p) {
  for (std::uint32_t layer = 0; layer < c.layers; ++layer) {
    for (std::uint32_t e = 0; e < c.experts; ++e) {
      const auto& replicas = p.layers[layer][e];
      const auto where = [&] { return "map: layer " + std::to_string(layer) + ", expert " + std::to_string(e); };
      if (replicas.empty()) return bad(where() + " has no slot");
      const auto twice = std::adjacent_find(replicas.begin(), replicas.end(),
                                            [](const replica& a, const replica& b) { return a.seat == b.seat; });
      if (twice != replicas.end())
        return bad(where() + " is twice on rank " + std::to_string(index_of(twice->seat)) + ", slots " +
                   std::to_string(twice->slot) + " and " + std::to_string((twice + 1)->slot));
    }
  }
  return {};
}

void write_map(const cluster& c, const placement& p, std::int32_t* map) {
  std::fill(map, map + c.layers * c.slots(), -1);
  for (std::uint32_t layer = 0; layer < c.layers; ++layer) {
    for (std::uint32_t e = 0; e < c.experts; ++e) {
      for (const auto& r : p.layers[layer][e])
        map[layer * c.slots() + c.first[index_of(r.seat)] + r.slot] = static_cast<std::int32_t>(e);
    }
  }
}

void write_shares(const cluster& c, const placement& p, double* shares) {
  std::fill(shares, shares + c.layers * c.slots(), 0.0);
  for (std::uint32_t layer = 0; layer < c.layers; ++layer) {
    for (const auto& replicas : p.layers[layer]) {
      for (const auto& r : replicas) shares[layer * c.slots() + c.first[index_of(r.seat)] + r.slot] = r.share;
    }
  }
}

}  // namespace ballast::policies::c_api
