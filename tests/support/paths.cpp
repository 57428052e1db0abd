#include "tests/support/paths.hpp"

namespace ballast {

std::string source_folder() { return BALLAST_SOURCE_DIR; }
std::string test_data(const std::string& name) { return source_folder() + "/tests/data/" + name; }
std::string built_program(const std::string& name) { return std::string(BALLAST_BINARY_DIR) + "/bin/" + name; }

}  // namespace ballast
