// Views of the small recording, as `ballast report` makes them.
#pragma once

#include <gtest/gtest.h>

#include "cli/report/page_data.hpp"
#include "tests/support/paths.hpp"

namespace ballast::report {

constexpr std::uint32_t small_ranks = 4, small_interval = 8;

inline const policies::load_recording& small_recording() {
  static const auto read = policies::read_load_records(test_data("small-drift-s1.jsonl.gz"));
  return read.value();
}

inline offline::replay_input small_input() { return {small_recording(), small_ranks, 1, {}, true}; }

inline view small_view(const std::string& policy, std::uint32_t redundant) {
  const auto input = small_input();
  const auto run = offline::replay(input, {policy, small_interval, redundant, offline::share_mode::even, false});
  EXPECT_TRUE(run) << run.error().text;
  return run ? view_of(*run, input, 0) : view{};
}

inline source small_source() { return {"small.jsonl.gz", "small-drift", 4, 16, 176}; }

inline page_data small_page(const bounds& within = {}) {
  auto even = small_view("static", 0);
  even.even_layout = true;
  return page_data_of({small_source()}, {even, small_view("economy", 4), small_view("deepseek", 4)}, within);
}

}  // namespace ballast::report
