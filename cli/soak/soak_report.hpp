// What a soak found.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/soak/soak_traffic.hpp"
#include "cli/soak/vitals.hpp"

namespace ballast {

struct soak_report {
  std::uint64_t seed = 0;
  double minutes = 0;
  std::uint64_t answered = 0, lost = 0, wrong = 0, compared = 0;
  std::uint64_t kills = 0, coordinator_kills = 0, hangs = 0, aborts = 0, page_checks = 0;
  std::map<std::string, std::uint64_t> operations;  // "scale done" and the like: how often
  std::map<std::string, std::uint64_t> failures;    // of those that failed, with the reason
  std::vector<growth> growths;
  std::string problem;  // the first; empty: none
};

std::string text_of(const soak_report& report);
std::string json_of(const soak_report& report);  // one document

}  // namespace ballast
