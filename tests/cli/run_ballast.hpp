// The command line as a test calls it, within the process.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "cli/verbs/verbs.hpp"

namespace ballast::test {

struct outcome {
  int code = 0;
  std::string out, err;
};

inline outcome run_ballast(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv{"ballast"};
  for (const auto& one : arguments) argv.push_back(one.c_str());
  std::ostringstream out, err;
  const int code = run_program(static_cast<int>(argv.size()), argv.data(), out, err);
  return {code, out.str(), err.str()};
}

inline bool is_one_line(const std::string& text) { return !text.empty() && text.find('\n') == text.size() - 1; }

}  // namespace ballast::test
