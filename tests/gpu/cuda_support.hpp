// What the tests of the cuda backend share.
#pragma once

#include <cstring>
#include <string>

#include "gpu/cuda/cuda_backend.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {

// Empty when there is a GPU; else why there is none.
std::string why_no_gpu();

// In the first lines of a test, or of SetUp.
#define BALLAST_NEEDS_GPU() \
  if (const auto why = ::ballast::gpu::test::why_no_gpu(); !why.empty()) GTEST_SKIP() << "no GPU: " << why

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// The largest over all tokens of |got - wanted| / |wanted| (Euclidean).
double relative_error(const std::vector<float>& got, const std::vector<float>& wanted, std::uint32_t width);

}  // namespace ballast::gpu::test
