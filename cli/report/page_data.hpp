// All that a page shows, brought to a size that a phone can hold. Pure, deterministic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/report/view.hpp"

namespace ballast::report {

// Layers counted by their imbalance; the last bin has all that lie above.
struct bins {
  double from = 1, width = 0.01;
  std::uint32_t count = 240;
};

struct page_data {
  std::vector<source> sources;
  std::vector<view> views;
  std::uint32_t left = 0, right = 0;  // views shown first
  std::uint64_t bundle_bytes = 0;     // of one expert in one layer; 0: not known
  bins imbalance_bins;
  std::vector<std::vector<std::uint64_t>> histograms;  // of every view; empty where layers are not known
  std::vector<std::string> notes;                      // what was left out, a sentence each
};

struct bounds {
  std::uint32_t steps = 480, layers = 96, columns = 128;
  std::uint64_t bytes = 3U << 20;  // of all heat maps and expert tables, as written to the page
};

// Names views by what sets them apart, chooses the first two to show, counts histograms and thins out what is beyond
// the bounds (each with a note). Curves and histograms count everything.
page_data page_data_of(std::vector<source> sources, std::vector<view> views, const bounds& within = {});

// One line of JSON that is safe inside a script element.
std::string json_of(const page_data& data);

}  // namespace ballast::report
