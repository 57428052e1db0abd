#include "agent/model/random_weights.hpp"

namespace ballast {
namespace {

// The finaliser of SplitMix64: every input bit changes every output bit with probability 1/2.
constexpr std::uint64_t scramble(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr std::uint64_t golden = 0x9e3779b97f4a7c15ULL;

}  // namespace

random_values::random_values(std::uint64_t seed, random_stream stream) noexcept : key_(scramble(seed + golden)) {
  key_ = scramble(key_ ^ ((std::uint64_t{stream.kind} << 32) | stream.layer));
  key_ = scramble(key_ ^ (stream.item * golden));
}

std::uint64_t random_values::bits(std::uint64_t index) const noexcept {
  return scramble(scramble(key_ + index * golden) ^ key_);
}

double random_values::uniform(std::uint64_t index) const noexcept {
  return static_cast<double>(bits(index) >> 11) * 0x1p-53;
}

float random_values::normal(std::uint64_t index) const noexcept {
  // The sum of four uniform 16-bit numbers: mean 2 * 65535, deviation sqrt((65536^2 - 1) / 3).
  const std::uint64_t b = bits(index);
  const auto sum = static_cast<std::int32_t>((b & 0xffff) + ((b >> 16) & 0xffff) + ((b >> 32) & 0xffff) + (b >> 48));
  return static_cast<float>(sum - 131070) * (1.0f / 37837.2f);
}

void random_values::fill_normal(std::span<float> out, float deviation, float mean) const noexcept {
  for (std::uint64_t i = 0; i < out.size(); ++i) out[i] = mean + deviation * normal(i);
}

}  // namespace ballast
