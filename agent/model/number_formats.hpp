// The number formats weights are stored in, and f8 block quantisation. Rounding is to nearest even, so that equal
// inputs give equal bytes on every machine. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gpu/model_shape.hpp"

namespace ballast {

std::uint16_t to_bf16(float value) noexcept;
float from_bf16(std::uint16_t bits) noexcept;
std::uint16_t to_f16(float value) noexcept;
float from_f16(std::uint16_t bits) noexcept;
std::uint8_t to_f8_e4m3(float value) noexcept;  // saturates at 448
float from_f8_e4m3(std::uint8_t bits) noexcept;

// Whole tensors; `stored` is size_of(type) * values.size() bytes long, little-endian.
void encode(std::span<const float> values, gpu::dtype type, std::span<std::byte> stored) noexcept;
void decode(std::span<const std::byte> stored, gpu::dtype type, std::span<float> values) noexcept;

// f8_e4m3 with one f32 scale for each block x block weights of a [rows][cols] tensor: value = f8 * scale.
// Scales are [ceil(rows / block)][ceil(cols / block)].
constexpr std::size_t blocks(std::size_t n, std::size_t block) noexcept { return (n + block - 1) / block; }
void quantise(std::span<const float> values, std::size_t rows, std::size_t cols, std::size_t block,
              std::span<std::byte> stored, std::span<float> scales) noexcept;
void dequantise(std::span<const std::byte> stored, std::size_t rows, std::size_t cols, std::size_t block,
                std::span<const float> scales, std::span<float> values) noexcept;

}  // namespace ballast
