// Between the plain arrays of the C interface and the types of policies/. Private to the shared library.
#pragma once

#include <cstdint>
#include <vector>

#include "policies/c_api/ballast_policies.h"
#include "policies/placement.hpp"

namespace ballast::policies::c_api {

// A caller's struct as this library knows it: what an older caller does not have is zero. Errors: invalid_argument.
result<ballast_shape> known(const ballast_shape* shape);
result<ballast_loads> known(const ballast_loads* loads);

// A checked shape: seat r is rank r.
struct cluster {
  std::uint32_t layers, experts, groups;
  std::vector<seat_info> seats;
  std::vector<std::uint32_t> first;  // [ranks + 1] slot at which a rank begins
  std::size_t slots() const { return first.back(); }
};
result<cluster> cluster_of(const ballast_shape* shape);

// Every expert has a slot, no rank holding one twice. Errors: does_not_fit.
status check_room(const cluster& c);

load_matrix matrix_of(const cluster& c, const double* loads);
std::vector<load_matrix> matrices_of(const cluster& c, const double* loads, std::uint32_t count);

// Replicas sorted by seat, two on one where the map has them; shares even where none are given. Errors:
// invalid_argument (an expert that there is not; names layer, rank and slot).
result<placement> placement_of(const cluster& c, const std::int32_t* map, const double* shares = nullptr);

// Every expert is somewhere, and nowhere twice. Errors: invalid_argument, in the words of the map.
status check_map(const cluster& c, const placement& p);

void write_map(const cluster& c, const placement& p, std::int32_t* map);
void write_shares(const cluster& c, const placement& p, double* shares);

}  // namespace ballast::policies::c_api
