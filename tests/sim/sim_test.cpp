#include <gtest/gtest.h>

#include "tests/sim/sim_shrink.hpp"

namespace ballast::sim {
namespace {

#if !defined(NDEBUG) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t schedules = 20;
#else
constexpr std::uint64_t schedules = 1000;
#endif

// Split, so that ctest runs them side by side and a failure names a small range.
class Schedules : public ::testing::TestWithParam<std::uint64_t> {};

std::string newest_lines(const outcome& o) {
  std::string out;
  const std::size_t shown = 60, from = o.lines.size() > shown ? o.lines.size() - shown : 0;
  for (std::size_t i = from; i < o.lines.size(); ++i) out += o.lines[i] + "\n";
  return out;
}

TEST_P(Schedules, KeepEveryInvariantAndComeToRest) {
  outcome sum;
  for (std::uint64_t i = 0; i < schedules; ++i) {
    const std::uint64_t seed = GetParam() * 1000 + i;
    const auto o = run_schedule(seed, false);
    sum.operations += o.operations;
    sum.share_updates += o.share_updates;
    sum.answers += o.answers;
    sum.deaths += o.deaths;
    if (o.ok) continue;
    const auto small = shrink(seed, bug::none, 300, std::chrono::seconds(20));
    FAIL() << newest_lines(small.result) << "seed " << seed << ": " << o.fault << "\nmade small: " << small.result.fault
           << "\nreplay: sim_run " << arguments_of(seed, small.left, bug::none) << " --verbose";
  }
  EXPECT_GT(sum.operations, schedules);  // the schedules really did something
  EXPECT_GT(sum.share_updates, 0u);
  EXPECT_GT(sum.answers, schedules);
  EXPECT_GT(sum.deaths, 0u);
}

INSTANTIATE_TEST_SUITE_P(Of, Schedules, ::testing::Range<std::uint64_t>(1, 21));

// Which seed finds it first is in README.md; that some early one does is what matters.
class Bugs : public ::testing::TestWithParam<named_bug> {};

TEST_P(Bugs, AreFoundAndMadeSmall) {
  const auto planted = GetParam().what;
  constexpr std::uint64_t seeds_most = 1000;
  std::uint64_t seed = 1;
  while (seed <= seeds_most && run_schedule(draw(seed), false, planted).ok) ++seed;
  ASSERT_LE(seed, seeds_most);
  EXPECT_TRUE(run_schedule(seed, false).ok) << "it is the bug that breaks seed " << seed;
  const auto small = shrink(seed, planted, 60, std::chrono::seconds(20));
  EXPECT_FALSE(small.result.ok);
  EXPECT_LT(small.left.keep->size(), draw(seed).incidents.size());
  EXPECT_FALSE(run_schedule(only(draw(seed), small.left), false, planted).ok);
}

INSTANTIATE_TEST_SUITE_P(PutBack, Bugs, ::testing::ValuesIn(bugs));

// Schedules that failed once: a drained rank that stayed took no sessions any more; a hello of a dead process came after
// that of the living one (43903); a member let go before another announced that all hold (159912).
class Found : public ::testing::TestWithParam<std::uint64_t> {};
TEST_P(Found, KeepsEveryInvariantAndComesToRest) {
  const auto o = run_schedule(GetParam(), true);
  EXPECT_TRUE(o.ok) << newest_lines(o) << o.fault;
}
INSTANTIATE_TEST_SUITE_P(Seeds, Found, ::testing::Values(39, 170, 218, 43903, 159912));

TEST(Schedule, IsTheSameEveryTimeItsSeedIsRun) {
  const auto once = run_schedule(7, true), again = run_schedule(7, true);
  EXPECT_EQ(once.events, again.events);
  EXPECT_EQ(once.steps, again.steps);
  EXPECT_EQ(once.lines, again.lines);
}

TEST(Schedule, HasClustersOfTwoToSixtyFourRanks) {
  std::size_t least = 1000, most = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    std::size_t ranks = 0;
    for (const auto& a : draw(seed).where.agents) ranks += a.ranks.size();
    least = std::min(least, ranks);
    most = std::max(most, ranks);
  }
  EXPECT_EQ(least, 2u);
  EXPECT_EQ(most, 64u);
}

TEST(Schedule, AnyPartOfItIsASchedule) {
  const auto whole = draw(5);
  const auto part_of_it = only(whole, {std::vector<std::uint32_t>{1, 3}, 1});
  ASSERT_EQ(part_of_it.incidents.size(), 2u);
  EXPECT_EQ(part_of_it.incidents[1].number, 3u);
  EXPECT_EQ(part_of_it.where.agents.size(), 1u);
  EXPECT_TRUE(run_schedule(part_of_it, false).ok);
}

}  // namespace
}  // namespace ballast::sim
