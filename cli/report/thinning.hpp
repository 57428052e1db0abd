// Views brought to a bounded size.
#pragma once

#include <string>
#include <vector>

#include "cli/report/page_data.hpp"

namespace ballast::report {

// Folds steps, ranks of heat maps (to the busiest of neighbours), and leaves out layers and frames, evenly. What was
// done, a sentence each.
std::vector<std::string> thin_out(std::vector<view>& views, const bounds& within);

// Characters that a heat map and its expert table take on the page.
std::uint64_t bytes_of(const view& v);

}  // namespace ballast::report
