// How long a lost rank costs: from SIGKILL of one of four ranks to the first step that the survivors complete, as a
// client sees it, over many kills. Real processes, host backend, default times. A tool: built, never run by ctest.
// recovery_benchmark [KILLS]
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

#include "tests/e2e/process_cluster.hpp"

namespace ballast::test {
namespace {

using namespace std::chrono_literals;
using milliseconds = std::chrono::duration<double, std::milli>;

constexpr double median_bar_ms = 500, p99_bar_ms = 1000;

// Nothing: what went wrong was printed.
std::optional<double> kill_one(process_cluster& cluster, const std::string& victim) {
  const std::vector<std::string> all{"a0", "a1", "a2", "a3"};
  if (!cluster.settle(all)) {
    fmt::print("the cluster did not come back to four ranks\n");
    return std::nullopt;
  }
  cluster.traffic().await_answers(16);
  const auto newest = cluster.newest_operation();
  const auto killed = std::chrono::steady_clock::now();
  if (!cluster.processes().kill(victim)) return std::nullopt;
  const auto resumed = cluster.wait_phase(newest, "resuming");
  const auto stepped = resumed ? cluster.traffic().first_output_after(*resumed, 30s) : std::nullopt;
  cluster.start_agent(victim);
  if (!stepped) return std::nullopt;
  return milliseconds(*stepped - killed).count();
}

int run(std::size_t kills) {
  cluster_options o;
  o.initial_ranks = 4;
  o.proxied = false;
  process_cluster cluster(o);
  if (!cluster.wait_until([](const auto& s) { return s.seats.size() == 4; })) return 1;
  cluster.traffic().start(8);
  std::vector<double> taken;
  for (std::size_t i = 0; i < kills; ++i) {
    const auto ms = kill_one(cluster, process_cluster::agent(i % 4));
    if (!ms) return 1;
    fmt::print("kill {:>2}: {:>7.1f} ms\n", i + 1, *ms);
    std::fflush(stdout);
    taken.push_back(*ms);
  }
  cluster.traffic().stop();
  cluster.traffic().expect_all_exact();
  std::ranges::sort(taken);
  const double median = taken[taken.size() / 2], p99 = taken[(taken.size() * 99 - 1) / 100];
  const bool kept = median < median_bar_ms && p99 < p99_bar_ms && !testing::Test::HasFailure();
  fmt::print("{} kills: median {:.1f} ms (bar {}), p99 {:.1f} ms (bar {}), least {:.1f}, greatest {:.1f}: {}\n", kills,
             median, median_bar_ms, p99, p99_bar_ms, taken.front(), taken.back(), kept ? "kept" : "missed");
  return kept ? 0 : 1;
}

}  // namespace
}  // namespace ballast::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::size_t kills = 30;
  if (argc > 1) std::from_chars(argv[1], argv[1] + std::strlen(argv[1]), kills);
  return ballast::test::run(std::max<std::size_t>(kills, 1));
}
