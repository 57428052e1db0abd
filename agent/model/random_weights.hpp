// Numbers from a seed by position: value i of stream s is a function of (seed, s, i) alone, so that any part of a model
// can be made by itself, on any machine, with the same bits (integers and exact scalings only, no libm).
#pragma once

#include <cstdint>
#include <span>

namespace ballast {

// Distinguishes the tensors of a model: no two (kind, layer, item) share a stream.
struct random_stream {
  std::uint32_t kind = 0;
  std::uint32_t layer = 0;
  std::uint64_t item = 0;
};

class random_values {
 public:
  random_values(std::uint64_t seed, random_stream stream) noexcept;
  std::uint64_t bits(std::uint64_t index) const noexcept;
  double uniform(std::uint64_t index) const noexcept;  // [0, 1)
  float normal(std::uint64_t index) const noexcept;    // mean 0, deviation 1, bell-shaped, |x| <= 3.47
  void fill_normal(std::span<float> out, float deviation, float mean = 0) const noexcept;

 private:
  std::uint64_t key_;
};

}  // namespace ballast
