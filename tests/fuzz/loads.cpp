// Recorded expert loads of any engine.
#include "policies/formats/read_recorded.hpp"
#include "tests/fuzz/fuzz_target.hpp"

using namespace ballast;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto& path = fuzz::file_with(fuzz::view(data, size));
  const auto recorded = policies::read_recorded_loads(path, size % 3);
  if (!recorded) {
    fuzz::require_one_line(recorded.error());
    return 0;
  }
  fuzz::require(recorded->meta.experts > 0 && recorded->meta.layers > 0, "loads that were read have a shape");
  if (recorded->map) (void)check(*recorded->map);
  return 0;
}
