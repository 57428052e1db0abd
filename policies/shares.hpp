// Which fraction of an expert's tokens each of its replicas takes, so that the busiest seat has the least to do. No
// weight moves, so this may be done many times a second between two placements. Pure, deterministic: equal inputs give
// equal outputs on every host and for any number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "messages/result.hpp"
#include "messages/types.hpp"
#include "policies/placement.hpp"

namespace ballast::policies {

struct share_options {
  double gap = 1e-6;       // peak / bound - 1 that is good enough
  double least = 0x1p-20;  // share of a replica that should get nothing: a placement's shares are above 0
  // Part of an expert's tokens that is split evenly whatever the load: caution where shares must last while loads
  // drift, about a half for a whole rebalance interval. The peak is higher for it, and the bound as before.
  double even = 0;
  std::uint32_t threads = 1;
};

// Time of the busiest seat, and what no shares can fall below: some seats must do all the work of the experts that are
// nowhere else. Both relative to the mean; 1 and 1 for a layer without load. bound <= peak.
struct layer_certificate {
  double peak = 1, bound = 1;
};

struct solved_shares {
  placement table;  // the given one with other shares; the version too is as given
  std::vector<layer_certificate> layers;
};

// `loads`: [layer][expert] tokens. Among all shares with the lowest peak those are taken whose second busiest seat has
// least to do, and so on, so that seats that are not the busiest stand far from being it. An expert without load is
// split evenly. A replica on a seat that is not given keeps its share, and the others divide the rest. Errors:
// invalid_argument (shapes, a load or a speed that is no number >= 0 or > 0, a seat named twice, options).
result<solved_shares> solve_shares(placement p, const load_matrix& loads, const std::vector<seat_info>& seats,
                                   const share_options& options = {});

}  // namespace ballast::policies
