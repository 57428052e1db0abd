// An expert's weights, in a buffer that held something else before.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "agent/model/model_source.hpp"

namespace ballast {

inline std::vector<std::byte> bundle_of(const model_source& model, std::uint32_t layer, std::uint32_t expert) {
  std::vector<std::byte> bytes(gpu::expert_layout(model.shape()).bytes, std::byte{0xee});
  const auto ok = model.bundle(layer, expert, bytes);
  EXPECT_TRUE(ok) << ok.error().text;
  return bytes;
}

}  // namespace ballast
