#include "tests/policies/random_problems.hpp"

#include <gtest/gtest.h>

#include "tests/support/rounds.hpp"

namespace ballast::policies {
namespace {

TEST(place_any_shape, is_legal_deterministic_and_never_worse_than_staying_put) {
  for (int seed = 1; seed <= test::rounds(1500); ++seed)
    ASSERT_EQ(testing::check_plans(static_cast<std::uint64_t>(seed), {24, 6, 64, 40, 2}), "") << "seed " << seed;
}

TEST(place_any_shape, holds_at_the_size_of_large_deployments) {
  for (int seed = 1; seed <= test::rounds(60); ++seed)
    ASSERT_EQ(testing::check_plans(static_cast<std::uint64_t>(seed), {}), "") << "seed " << seed;
}

}  // namespace
}  // namespace ballast::policies
