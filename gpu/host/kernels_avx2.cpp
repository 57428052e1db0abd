// The kernels with 8-wide vectors: one vector lane is one lane of the order that kernels.hpp fixes. The functions carry
// their instruction set themselves, so that nothing else of this file may use it on a processor without it.
#if defined(__x86_64__)

#include <immintrin.h>

#include "gpu/host/kernels.hpp"

#define BALLAST_AVX2 __attribute__((target("avx2,f16c")))

namespace ballast::gpu::host::detail {
namespace {

constexpr std::uint32_t rows_at_once = 4;

BALLAST_AVX2 inline float sum_lanes(__m256 v) {
  const auto four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const auto two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

BALLAST_AVX2 inline __m256 widen_f8(const std::byte* in) {
  const auto v = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in)));
  const auto magnitude = _mm256_and_si256(v, _mm256_set1_epi32(0x7f));
  const auto sign = _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0x80)), 24);
  auto value = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 20)), _mm256_set1_ps(0x1p120f));
  const auto is_nan = _mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f));
  value = _mm256_blendv_ps(value, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), _mm256_castsi256_ps(is_nan));
  return _mm256_or_ps(value, _mm256_castsi256_ps(sign));
}

BALLAST_AVX2 void widen_f8_row(const matrix& w, std::uint32_t row, float* out) {
  const auto* in = w.data + std::size_t{row} * w.cols;
  const auto per_row = (w.cols + w.scale_block - 1) / w.scale_block;
  const auto* scales = w.scales + std::size_t{row / w.scale_block} * per_row;
  for (std::uint32_t block = 0, c = 0; block < per_row; ++block) {
    const auto scale = _mm256_set1_ps(scales[block]);
    const auto left = w.cols - c;
    const auto end = c + (left < w.scale_block ? left : w.scale_block);
    for (; c < end; c += 8) _mm256_storeu_ps(out + c, _mm256_mul_ps(widen_f8(in + c), scale));
  }
}

// R rows of f32 weights (stride cols) with T tokens.
template <int R, int T>
BALLAST_AVX2 inline void tile(const float* const* w, const float* x, std::uint32_t cols, float* y, std::size_t stride) {
  __m256 sum[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) sum[r][t] = _mm256_setzero_ps();
  for (std::uint32_t c = 0; c < cols; c += 8) {
    __m256 weight[R];
    for (int r = 0; r < R; ++r) weight[r] = _mm256_loadu_ps(w[r] + c);
    for (int t = 0; t < T; ++t) {
      const auto value = _mm256_loadu_ps(x + static_cast<std::size_t>(t) * cols + c);
      for (int r = 0; r < R; ++r) sum[r][t] = _mm256_add_ps(sum[r][t], _mm256_mul_ps(weight[r], value));
    }
  }
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t)
      y[static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(r)] = sum_lanes(sum[r][t]);
}

template <int R>
BALLAST_AVX2 inline void tokens_of(const float* const* w, const float* x, std::uint32_t tokens, std::uint32_t cols,
                                   float* y, std::size_t stride) {
  std::uint32_t t = 0;
  for (; t + 4 <= tokens; t += 4) tile<R, 4>(w, x + std::size_t{t} * cols, cols, y + t * stride, stride);
  const auto* rest = x + std::size_t{t} * cols;
  if (tokens - t == 3) tile<R, 3>(w, rest, cols, y + t * stride, stride);
  if (tokens - t == 2) tile<R, 2>(w, rest, cols, y + t * stride, stride);
  if (tokens - t == 1) tile<R, 1>(w, rest, cols, y + t * stride, stride);
}

}  // namespace

BALLAST_AVX2 void widen_row_avx2(const matrix& w, std::uint32_t row, float* out) {
  const auto* in = w.data + std::size_t{row} * w.cols * size_of(w.type);
  if (w.type == dtype::bf16) {
    for (std::uint32_t c = 0; c < w.cols; c += 8) {
      const auto v = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + std::size_t{c} * 2)));
      _mm256_storeu_ps(out + c, _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)));
    }
  } else if (w.type == dtype::f16) {
    for (std::uint32_t c = 0; c < w.cols; c += 8)
      _mm256_storeu_ps(out + c,
                       _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + std::size_t{c} * 2))));
  } else if (w.type == dtype::f8_e4m3 && w.scale_block % 8 == 0) {
    widen_f8_row(w, row, out);
  } else {
    widen_row_portable(w, row, out);
  }
}

BALLAST_AVX2 void multiply_avx2(const matrix& w, const float* x, std::uint32_t tokens, float* y) {
  auto* scratch = row_scratch(std::size_t{rows_at_once} * w.cols);
  for (std::uint32_t first = 0; first < w.rows; first += rows_at_once) {
    const auto rows = w.rows - first < rows_at_once ? w.rows - first : rows_at_once;
    const float* row[rows_at_once] = {};
    for (std::uint32_t r = 0; r < rows; ++r) {
      if (w.type == dtype::f32) {
        row[r] = reinterpret_cast<const float*>(w.data) + std::size_t{first + r} * w.cols;
      } else {
        auto* wide = scratch + std::size_t{r} * w.cols;
        widen_row_avx2(w, first + r, wide);
        row[r] = wide;
      }
    }
    if (rows == rows_at_once && tokens == 1) {
      tile<4, 1>(row, x, w.cols, y + first, w.rows);
      continue;
    }
    std::uint32_t r = 0;
    for (; r + 2 <= rows; r += 2) tokens_of<2>(row + r, x, tokens, w.cols, y + first + r, w.rows);
    if (r < rows) tokens_of<1>(row + r, x, tokens, w.cols, y + first + r, w.rows);
  }
}

}  // namespace ballast::gpu::host::detail

#endif
