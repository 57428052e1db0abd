#include "cli/render/table.hpp"

#include <algorithm>

namespace ballast {
namespace {

bool is_number(const std::string& cell) {
  return cell.empty() || cell == "-" || cell.find_first_not_of("0123456789.+-x%") == std::string::npos;
}

}  // namespace

std::string table::text() const {
  std::vector<std::size_t> widths(heads_.size());
  std::vector<bool> numbers(heads_.size(), true);
  for (std::size_t c = 0; c < heads_.size(); ++c) {
    widths[c] = heads_[c].size();
    for (const auto& cells : rows_) {
      if (c >= cells.size()) continue;
      widths[c] = std::max(widths[c], cells[c].size());
      numbers[c] = numbers[c] && is_number(cells[c]);
    }
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string one;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string gap(widths[c] - cells[c].size(), ' ');
      one += (c == 0 ? "" : "  ") + (numbers[c] ? gap + cells[c] : cells[c] + gap);
    }
    one.erase(one.find_last_not_of(' ') + 1);
    out += one + "\n";
  };
  line(heads_);
  for (const auto& cells : rows_) line(cells);
  return out;
}

}  // namespace ballast
