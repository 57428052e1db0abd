#include <gtest/gtest.h>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {
namespace {

// Split, so that ctest runs them side by side and a failure names a small range.
class Schedules : public ::testing::TestWithParam<std::uint64_t> {};

std::string newest_lines(const outcome& o) {
  std::string out;
  const std::size_t shown = 60, from = o.lines.size() > shown ? o.lines.size() - shown : 0;
  for (std::size_t i = from; i < o.lines.size(); ++i) out += o.lines[i] + "\n";
  return out;
}

TEST_P(Schedules, KeepEveryInvariantAndComeToRest) {
#ifdef NDEBUG
  constexpr std::uint64_t count = 300;
#else
  constexpr std::uint64_t count = 20;
#endif
  std::uint64_t operations = 0, share_updates = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t seed = GetParam() * 1000 + i;
    const auto o = run_schedule(seed, false);
    operations += o.operations;
    share_updates += o.share_updates;
    if (o.ok) continue;
    const auto traced = run_schedule(seed, true);
    FAIL() << newest_lines(traced) << "seed " << seed << ": " << o.fault << "\nreplay: sim_run --seed " << seed
           << " --verbose";
  }
  EXPECT_GT(operations, count);  // the schedules really did something
  EXPECT_GT(share_updates, 0u);
}

INSTANTIATE_TEST_SUITE_P(Of, Schedules, ::testing::Range<std::uint64_t>(1, 11));

// Schedules that failed once.
class Found : public ::testing::TestWithParam<std::uint64_t> {};
TEST_P(Found, KeepsEveryInvariantAndComesToRest) {
  const auto o = run_schedule(GetParam(), true);
  EXPECT_TRUE(o.ok) << newest_lines(o) << o.fault;
}
INSTANTIATE_TEST_SUITE_P(Seeds, Found, ::testing::Values(31676, 33732));

TEST(Schedule, IsTheSameEveryTimeItsSeedIsRun) {
  const auto once = run_schedule(7, true), again = run_schedule(7, true);
  EXPECT_EQ(once.events, again.events);
  EXPECT_EQ(once.steps, again.steps);
  EXPECT_EQ(once.lines, again.lines);
}

}  // namespace
}  // namespace ballast::sim
