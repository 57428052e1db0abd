// What the policies make of a recording: after each interval a placement is planned from that interval's loads and
// judged by the next one's, which is what users see. One line a policy. Usage: recorded_loads RECORDING RANKS
// SLOTS_PER_RANK [RANKS_PER_NODE [POLICY [WRITE_PRICE [PRICE_PER_DRIFT]]]]
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "policies/formats/load_records.hpp"
#include "policies/start_plan.hpp"
#include "tests/policies/shapes.hpp"

namespace ballast::policies {
namespace {

std::vector<load_matrix> intervals_of(const load_recording& recording) {
  const auto steps = std::max<std::size_t>(1, recording.meta.steps_per_interval);
  std::vector<load_matrix> intervals;
  for (std::size_t first = 0; first + steps <= recording.records.size(); first += steps) {
    load_matrix sum;
    for (auto i = first; i < first + steps; ++i) add_loads(sum, recording.records[i].tokens);
    intervals.push_back(std::move(sum));
  }
  return intervals;
}

struct setting {
  std::string policy;
  std::uint32_t ranks = 0, slots = 0, ranks_per_node = 8;
  std::optional<double> write_price, price_per_drift;
};

status replay(const setting& with, const load_recording& recording) {
  const auto& [policy, ranks, slots, ranks_per_node, write_price, price_per_drift] = with;
  placement_problem problem;
  problem.layers = static_cast<std::uint32_t>(recording.records.front().tokens.size());
  problem.experts = static_cast<std::uint32_t>(recording.records.front().tokens.front().size());
  problem.groups = recording.meta.groups;
  problem.seats = testing::equal_seats(ranks, slots, 1, ranks_per_node);
  if (ranks * slots < problem.experts)
    return fail(errc::does_not_fit,
                fmt::format("{} slots hold no {} experts; give more", ranks * slots, problem.experts));
  problem.redundant = ranks * slots - problem.experts;
  if (auto options = policy_options(policy); options && write_price) {
    options->write_price = *write_price;
    options->price_per_drift = price_per_drift.value_or(options->price_per_drift);
    problem.options = *options;
  }
  const auto intervals = intervals_of(recording);
  const auto steps = recording.records.size() / intervals.size();
  double planned = 0, next = 0, worst = 0, copies = 0, counted = 0;
  for (std::size_t i = 0; i + 1 < intervals.size(); ++i) {
    problem.loads = intervals[i];
    if (i > 0) problem.history.intervals.push_back(intervals[i - 1]);
    problem.history.parts.clear();
    for (auto k = i * steps; k < (i + 1) * steps; ++k) problem.history.parts.push_back(recording.records[k].tokens);
    auto placed = place(policy, problem);
    if (!placed) return fail(placed.error());
    if (i > 0) {  // the first fills empty ranks
      const auto seen = imbalance(*placed, intervals[i + 1], problem.seats);
      planned += imbalance(*placed, intervals[i], problem.seats).mean;
      next += seen.mean;
      worst = std::max(worst, seen.max);
      copies += static_cast<double>(testing::copies_between(*problem.current, *placed));
      ++counted;
    }
    problem.current = std::move(*placed);
  }
  fmt::print(
      "{:<12} ranks={} slots={} layers={} intervals={} planned_mean={:.4f} next_mean={:.4f} next_max={:.4f} "
      "moved={:.1f}%\n",
      policy, ranks, ranks * slots, problem.layers, counted, planned / counted, next / counted, worst,
      100 * copies / counted / (double{1} * problem.layers * ranks * slots));
  return {};
}

}  // namespace
}  // namespace ballast::policies

int main(int argc, char** argv) {
  using namespace ballast;
  if (argc < 4 || argc > 8) {
    fmt::print(stderr,
               "usage: recorded_loads RECORDING RANKS SLOTS_PER_RANK "
               "[RANKS_PER_NODE [POLICY [WRITE_PRICE [PRICE_PER_DRIFT]]]]\n");
    return 2;
  }
  const auto recording = policies::read_load_records(argv[1]);
  status done = recording ? status{} : status(fail(recording.error()));
  const auto whole = [&](int k, std::uint32_t otherwise) {
    return argc > k ? static_cast<std::uint32_t>(std::atoi(argv[k])) : otherwise;
  };
  policies::setting with{"", whole(2, 0), whole(3, 0), whole(4, 8), {}, {}};
  if (argc > 6) with.write_price = std::atof(argv[6]);
  if (argc > 7) with.price_per_drift = std::atof(argv[7]);
  for (const auto& policy : argc > 5 ? std::vector<std::string>{argv[5]} : policies::policy_names()) {
    with.policy = policy;
    if (done) done = policies::replay(with, *recording);
  }
  if (done) return 0;
  fmt::print(stderr, "recorded_loads: {}\n", done.error().text);
  return 1;
}
