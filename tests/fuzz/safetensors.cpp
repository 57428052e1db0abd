// Checkpoint files: the header's length, the header, and that every tensor lies inside the file.
#include "agent/model/safetensors.hpp"

#include "tests/fuzz/fuzz_target.hpp"

using namespace ballast;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = safetensors_file::open(fuzz::file_with(fuzz::view(data, size)));
  if (!file) {
    fuzz::require_one_line(file.error());
    return 0;
  }
  std::uint64_t sum = 0, bytes = 0;
  for (const auto& [name, entry] : (*file)->tensors()) {
    const auto found = (*file)->bytes(entry);
    fuzz::require(found.has_value(), "a tensor that is listed can be read");
    for (const std::byte b : *found) sum += std::to_integer<std::uint64_t>(b);
    bytes += found->size();
  }
  fuzz::require(bytes < size && sum <= 255 * bytes, "tensors are no longer than their file");
  return 0;
}
