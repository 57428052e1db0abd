#include "agent/model/number_formats.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace ballast {
namespace {

TEST(number_formats, every_bf16_survives_the_way_through_f32) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = from_bf16(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(to_bf16(value), bits);
  }
}

TEST(number_formats, every_f16_survives_the_way_through_f32) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = from_f16(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(to_f16(value), bits);
  }
}

TEST(number_formats, every_f8_survives_the_way_through_f32) {
  for (std::uint32_t bits = 0; bits < 0x100; ++bits) {
    const float value = from_f8_e4m3(static_cast<std::uint8_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(to_f8_e4m3(value), bits);
  }
}

TEST(number_formats, known_values_have_their_bits) {
  EXPECT_EQ(to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(to_f16(1.0f), 0x3c00);
  EXPECT_EQ(to_f16(-65504.0f), 0xfbff);
  EXPECT_EQ(to_f16(0x1p-24f), 0x0001);
  EXPECT_EQ(to_f8_e4m3(1.0f), 0x38);
  EXPECT_EQ(to_f8_e4m3(448.0f), 0x7e);
  EXPECT_EQ(to_f8_e4m3(0x1p-9f), 0x01);
}

TEST(number_formats, ties_go_to_the_even_neighbour) {
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_EQ(to_f16(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(to_f16(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(to_f16(0x1p-25f), 0x0000);
  EXPECT_EQ(to_f16(3 * 0x1p-25f), 0x0002);
  EXPECT_EQ(to_f8_e4m3(1.0f + 0x1p-4f), 0x38);
  EXPECT_EQ(to_f8_e4m3(1.0f + 3 * 0x1p-4f), 0x3a);
}

TEST(number_formats, what_is_too_large_becomes_infinite_or_saturates) {
  EXPECT_EQ(to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(to_f8_e4m3(1e9f), 0x7e);
  EXPECT_EQ(to_f8_e4m3(-1e9f), 0xfe);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(nan))));
  EXPECT_TRUE(std::isnan(from_f16(to_f16(nan))));
  EXPECT_TRUE(std::isnan(from_f8_e4m3(to_f8_e4m3(nan))));
}

TEST(number_formats, block_scales_keep_every_block_precise) {
  constexpr std::size_t rows = 20, cols = 37, block = 16;
  std::vector<float> values(rows * cols);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float size = i / cols < block ? 1e-3f : 1e3f;  // blocks of very different sizes
    values[i] = size * (static_cast<float>(i * 2654435761u % 2001) / 1000.0f - 1.0f);
  }
  std::vector<std::byte> stored(values.size());
  std::vector<float> scales(blocks(rows, block) * blocks(cols, block));
  ASSERT_EQ(scales.size(), 6u);
  quantise(values, rows, cols, block, stored, scales);
  std::vector<float> back(values.size());
  dequantise(stored, rows, cols, block, scales, back);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float size = i / cols < block ? 1e-3f : 1e3f;
    ASSERT_NEAR(back[i], values[i], size / 16) << i;
  }
}

TEST(number_formats, a_block_of_zeros_has_a_usable_scale) {
  std::vector<float> values(16, 0.0f), scales(1), back(16, 1.0f);
  std::vector<std::byte> stored(16);
  quantise(values, 4, 4, 4, stored, scales);
  dequantise(stored, 4, 4, 4, scales, back);
  EXPECT_EQ(scales[0], 1.0f);
  EXPECT_EQ(back, values);
}

}  // namespace
}  // namespace ballast
