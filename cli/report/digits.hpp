// Numbers of a fixed width in 64 characters that need no escape in JSON: a third of the size of decimals. decode.js
// reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace ballast::report {

inline constexpr char digit_characters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
inline constexpr std::uint32_t cell_digits = 2;    // of a load: 4095 is the largest one on the page
inline constexpr std::uint32_t expert_digits = 3;  // of an expert's number
inline constexpr std::uint32_t copies_digits = 2;  // of its copies
inline constexpr std::uint32_t busy_expert_digits = expert_digits + copies_digits + cell_digits;

// Most significant first; what is too large becomes the largest number of that width.
inline void append_digits(std::string& to, std::uint64_t value, std::uint32_t width) {
  const auto most = (std::uint64_t{1} << (6 * width)) - 1;
  value = std::min(value, most);
  for (auto i = width; i-- > 0;) to += digit_characters[(value >> (6 * i)) & 63];
}

}  // namespace ballast::report
