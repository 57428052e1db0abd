// Aligned columns of text: words to the left, numbers to the right.
#pragma once

#include <string>
#include <vector>

namespace ballast {

class table {
 public:
  explicit table(std::vector<std::string> heads) : heads_(std::move(heads)) {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const noexcept { return rows_.empty(); }
  std::string text() const;  // every line ends in '\n'

 private:
  std::vector<std::string> heads_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ballast
