#include "tests/fuzz/fuzz_target.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace ballast::fuzz {

void require(bool held, std::string_view promise) {
  if (held) return;
  std::fprintf(stderr, "broken promise: %.*s\n", static_cast<int>(promise.size()), promise.data());
  std::abort();
}

void require_one_line(const error& failure) {
  require(!failure.text.empty(), "an error has a text");
  require(failure.text.find('\n') == std::string::npos, "an error is one line: " + failure.text);
}

const std::string& file_with(std::span<const std::byte> content) {
  static const int file = ::memfd_create("fuzz", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  const auto size = static_cast<ssize_t>(content.size());
  require(::ftruncate(file, 0) == 0 && ::pwrite(file, content.data(), content.size(), 0) == size, "memory has room");
  return path;
}

}  // namespace ballast::fuzz
