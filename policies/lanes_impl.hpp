// Vectors of floats for the planner's inner loops, and the choice of instruction set at run time. Every operation works
// lane by lane in a fixed order, so that results are the same bits on every host and for every width. Private to
// policies/.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#define BALLAST_INLINE [[gnu::always_inline]] inline

namespace ballast::policies {

inline constexpr std::uint32_t lane_count = 16;  // what arrays are padded to, whatever the width in use

constexpr std::uint32_t padded(std::uint32_t count) { return (count + lane_count - 1) / lane_count * lane_count; }

template <std::uint32_t width>
struct vec;  // width floats
template <>
struct vec<1> {
  using type = float;
};
template <>
struct vec<16> {
  using type [[gnu::vector_size(64)]] = float;
  using mask [[gnu::vector_size(64)]] = std::int32_t;
};
template <>
struct vec<8> {
  using type [[gnu::vector_size(32)]] = float;
  using mask [[gnu::vector_size(32)]] = std::int32_t;
};

template <std::uint32_t width>
BALLAST_INLINE void load(typename vec<width>::type& out, const float* from) {
  std::memcpy(&out, from, sizeof out);
}
template <std::uint32_t width>
BALLAST_INLINE void store(float* to, const typename vec<width>::type& value) {
  std::memcpy(to, &value, sizeof value);
}

// Sixteen partial sums, added up in one order for every width.
struct lane_sums {
  alignas(64) float at[lane_count] = {};
  BALLAST_INLINE float total() const {
    using eight = vec<8>::type;
    using four [[gnu::vector_size(16)]] = float;
    eight low, high;
    std::memcpy(&low, at, sizeof low);
    std::memcpy(&high, at + 8, sizeof high);
    low += high;
    const four sum = __builtin_shufflevector(low, low, 0, 1, 2, 3) + __builtin_shufflevector(low, low, 4, 5, 6, 7);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
  }
};

enum class isa : std::uint8_t { plain, avx2, avx512 };
inline isa host_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq"))
    return isa::avx512;
  if (__builtin_cpu_supports("avx2")) return isa::avx2;
#endif
  return isa::plain;
}

}  // namespace ballast::policies
