// How often a test that draws its cases at random does so.
#pragma once

namespace ballast::test {

// The sanitizers make every round several times slower; what they look for shows in few.
constexpr int rounds(int full) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return (full + 4) / 5;
#else
  return full;
#endif
}

}  // namespace ballast::test
