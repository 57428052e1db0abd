// A target with a fault that only mutations of its one seed reach: shows that a crash is noticed.
#include "tests/fuzz/fuzz_target.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ballast::fuzz::require(size < 4 || data[0] == 'B' || data[1] == 'a', "the first or the second letter stays");
  return 0;
}
