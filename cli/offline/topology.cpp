#include "cli/offline/topology.hpp"

#include <fmt/format.h>

namespace ballast::offline {

result<topology> topology_of(const topology_options& options, std::uint32_t experts) {
  const auto ranks = options.ranks;
  if (options.nodes > ranks)
    return fail(errc::invalid_argument,
                fmt::format("{} nodes for {} ranks; every node needs one", options.nodes, ranks));
  topology out;
  out.nodes = options.nodes;
  const auto wanted = std::uint64_t{experts} + options.redundant.value_or(0);
  const auto filled = (wanted + ranks - 1) / ranks;
  out.slots_per_rank = options.slots_per_rank.value_or(static_cast<std::uint32_t>(filled));
  const auto slots = std::uint64_t{out.slots_per_rank} * ranks;
  if (slots < experts) {
    return fail(errc::does_not_fit, fmt::format("{} ranks of {} slots hold no {} experts; give --slots-per-rank {}",
                                                ranks, out.slots_per_rank, experts, (experts + ranks - 1) / ranks));
  }
  if (out.slots_per_rank > experts) {
    return fail(errc::invalid_argument,
                fmt::format("{} slots a rank for {} experts: no rank holds one twice; give fewer", out.slots_per_rank,
                            experts));
  }
  out.redundant = static_cast<std::uint32_t>(slots - experts);
  if (!options.slots_per_rank && slots != wanted) {
    out.note = fmt::format("{} experts on {} ranks need {} slots each: {} redundant experts fill them", wanted, ranks,
                           out.slots_per_rank, out.redundant);
  }
  for (std::uint32_t r = 0; r < ranks; ++r) {
    const auto node = static_cast<std::uint32_t>(std::uint64_t{r} * options.nodes / ranks);
    out.seats.push_back({seat_id{r}, node, 1.0, {out.slots_per_rank, 0}});
  }
  return out;
}

policies::placement_problem problem_for(const topology& on, std::uint32_t layers, std::uint32_t experts,
                                        std::uint32_t groups) {
  policies::placement_problem problem;
  problem.layers = layers;
  problem.experts = experts;
  problem.groups = groups;
  problem.redundant = on.redundant;
  problem.seats = on.seats;
  return problem;
}

}  // namespace ballast::offline
