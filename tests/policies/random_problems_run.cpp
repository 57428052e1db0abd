// Checks plans for many random shapes: random_problems_run [FIRST_SEED] COUNT. Ends at the first fault, naming its
// seed.
#include <fmt/core.h>

#include <cstdlib>

#include "tests/policies/random_problems.hpp"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fmt::print(stderr, "usage: random_problems_run [FIRST_SEED] COUNT\n");
    return 2;
  }
  const auto count = std::strtoull(argv[argc - 1], nullptr, 10);
  const auto first = argc == 3 ? std::strtoull(argv[1], nullptr, 10) : 1;
  for (auto seed = first; seed < first + count; ++seed) {
    const auto fault = ballast::policies::testing::check_plans(seed, {});
    if (fault.empty()) continue;
    fmt::print("seed {}: {}\n", seed, fault);
    return 1;
  }
  fmt::print("{} shapes without a fault\n", count);
}
