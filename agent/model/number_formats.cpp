#include "agent/model/number_formats.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace ballast {
namespace {

constexpr std::uint32_t infinity_bits = 0x7f800000;

// Drops `drop` mantissa bits, to nearest even, of a float that is normal in the smaller format.
constexpr std::uint32_t round_off(std::uint32_t magnitude, unsigned drop) noexcept {
  const std::uint32_t odd = (magnitude >> drop) & 1;
  return magnitude + (1u << (drop - 1)) - 1 + odd;
}

// Adding `anchor`, whose last bit weighs as much as the smaller format's subnormal step, lets the adder round.
std::uint32_t subnormal(std::uint32_t magnitude, float anchor) noexcept {
  const float sum = std::bit_cast<float>(magnitude) + anchor;
  return std::bit_cast<std::uint32_t>(sum) - std::bit_cast<std::uint32_t>(anchor);
}

}  // namespace

std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffff) > infinity_bits) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>(round_off(bits, 16) >> 16);
}

float from_bf16(std::uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::uint16_t to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  std::uint32_t rest = 0;
  if (magnitude > infinity_bits) {
    rest = 0x7e00;
  } else if (magnitude >= 0x47800000) {  // 2^16
    rest = 0x7c00;
  } else if (magnitude < 0x38800000) {  // 2^-14
    rest = subnormal(magnitude, 0.5f);
  } else {
    rest = (round_off(magnitude, 13) - (112u << 23)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | rest);
}

float from_f16(std::uint16_t bits) noexcept {
  const std::uint32_t exponent = (bits >> 10) & 0x1f;
  const std::uint32_t mantissa = bits & 0x3ff;
  float magnitude = 0;
  if (exponent == 31) {
    magnitude = std::bit_cast<float>(infinity_bits | (mantissa << 13));
  } else if (exponent == 0) {
    magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  } else {
    magnitude = std::bit_cast<float>(((exponent + 112) << 23) | (mantissa << 13));
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

std::uint8_t to_f8_e4m3(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 24) & 0x80;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  std::uint32_t rest = 0;
  if (magnitude > infinity_bits) {
    rest = 0x7f;
  } else if (magnitude >= 0x43e00000) {  // 448, the largest
    rest = 0x7e;
  } else if (magnitude < 0x3c800000) {  // 2^-6
    rest = subnormal(magnitude, 16384.0f);
  } else {
    rest = (round_off(magnitude, 20) - (120u << 23)) >> 20;
  }
  return static_cast<std::uint8_t>(sign | rest);
}

float from_f8_e4m3(std::uint8_t bits) noexcept {
  const std::uint32_t exponent = (bits >> 3) & 0xf;
  const std::uint32_t mantissa = bits & 7;
  float magnitude = 0;
  if (exponent == 15 && mantissa == 7) {
    magnitude = std::bit_cast<float>(infinity_bits | 0x400000);
  } else if (exponent == 0) {
    magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  } else {
    magnitude = std::bit_cast<float>(((exponent + 120) << 23) | (mantissa << 20));
  }
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

void encode(std::span<const float> values, gpu::dtype type, std::span<std::byte> stored) noexcept {
  std::byte* out = stored.data();
  const auto put_half = [&](auto convert) {
    for (const float value : values) {
      const std::uint16_t bits = convert(value);
      std::memcpy(out, &bits, sizeof bits);
      out += sizeof bits;
    }
  };
  switch (type) {
    case gpu::dtype::f32:
      std::memcpy(out, values.data(), values.size_bytes());
      break;
    case gpu::dtype::bf16:
      put_half(to_bf16);
      break;
    case gpu::dtype::f16:
      put_half(to_f16);
      break;
    case gpu::dtype::f8_e4m3:
      for (const float value : values) *out++ = std::byte{to_f8_e4m3(value)};
      break;
  }
}

void decode(std::span<const std::byte> stored, gpu::dtype type, std::span<float> values) noexcept {
  const std::byte* in = stored.data();
  const auto get_half = [&](auto convert) {
    for (float& value : values) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, in, sizeof bits);
      value = convert(bits);
      in += sizeof bits;
    }
  };
  switch (type) {
    case gpu::dtype::f32:
      std::memcpy(values.data(), in, values.size_bytes());
      break;
    case gpu::dtype::bf16:
      get_half(from_bf16);
      break;
    case gpu::dtype::f16:
      get_half(from_f16);
      break;
    case gpu::dtype::f8_e4m3:
      for (float& value : values) value = from_f8_e4m3(std::to_integer<std::uint8_t>(*in++));
      break;
  }
}

void quantise(std::span<const float> values, std::size_t rows, std::size_t cols, std::size_t block,
              std::span<std::byte> stored, std::span<float> scales) noexcept {
  const std::size_t across = blocks(cols, block);
  std::fill(scales.begin(), scales.end(), 0.0f);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      float& largest = scales[r / block * across + c / block];
      largest = std::max(largest, std::fabs(values[r * cols + c]));
    }
  }
  for (float& scale : scales) scale = scale > 0 ? scale / 448.0f : 1.0f;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      const float scale = scales[r / block * across + c / block];
      stored[r * cols + c] = std::byte{to_f8_e4m3(values[r * cols + c] / scale)};
    }
  }
}

void dequantise(std::span<const std::byte> stored, std::size_t rows, std::size_t cols, std::size_t block,
                std::span<const float> scales, std::span<float> values) noexcept {
  const std::size_t across = blocks(cols, block);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      const float weight = from_f8_e4m3(std::to_integer<std::uint8_t>(stored[r * cols + c]));
      values[r * cols + c] = weight * scales[r / block * across + c / block];
    }
  }
}

}  // namespace ballast
