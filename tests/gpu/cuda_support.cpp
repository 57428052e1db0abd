#include "tests/gpu/cuda_support.hpp"

#include <cmath>
#include <limits>

#include "gpu/cuda/runtime_impl.hpp"

namespace ballast::gpu::test {

std::string why_no_gpu() {
  const auto count = cuda::device_count();
  if (!count) return count.error().text;
  return *count == 0 ? "this machine shows none" : "";
}

double relative_error(const std::vector<float>& got, const std::vector<float>& wanted, std::uint32_t width) {
  if (got.size() != wanted.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t t = 0; t < got.size(); t += width) {
    double apart = 0, size = 0;
    for (std::size_t c = t; c < t + width; ++c) {
      apart += (double{got[c]} - wanted[c]) * (double{got[c]} - wanted[c]);
      size += double{wanted[c]} * wanted[c];
    }
    const auto error = std::sqrt(apart / size);
    if (!(error <= worst)) worst = error;  // not a number is the worst of all
  }
  return worst;
}

}  // namespace ballast::gpu::test
