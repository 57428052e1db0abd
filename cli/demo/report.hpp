// The demo's final table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/load/latency.hpp"
#include "cli/load/load_generator.hpp"
#include "messages/result.hpp"

namespace ballast {

struct demo_operation {
  std::string kind, target, outcome;
  double seconds = 0;
  latency_figures steps;  // gaps between outputs, at the clients, while it ran
  std::uint64_t pages_copied = 0, bytes_moved = 0;
};

struct demo_report {
  load_totals requests;
  std::uint64_t answers_compared = 0, answers_different = 0;
  std::string first_difference;
  double imbalance_before = 0, imbalance_after = 0;          // mean over layers
  double imbalance_before_max = 0, imbalance_after_max = 0;  // worst layer
  std::vector<demo_operation> operations;
  latency_figures quiet;
  std::uint64_t steps = 0, bytes_moved = 0;
  double seconds = 0;
};

std::string text_of(const demo_report& report);
std::string json_of(const demo_report& report);  // one document
// Error: what was lost, differed or did not end done.
status verdict_of(const demo_report& report);

}  // namespace ballast
