// Where the tests find what the build and the repository hold. Here and not as macros of every test: an object that
// names no folder serves every clone from the compiler's cache.
#pragma once

#include <string>

namespace ballast {

std::string source_folder();
std::string test_data(const std::string& name = {});  // of tests/data
std::string built_program(const std::string& name);   // one of the build's programs

}  // namespace ballast
