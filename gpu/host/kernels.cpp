#include "gpu/host/kernels.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace ballast::gpu::host {
namespace {

constexpr std::size_t lanes = 8;

float sum_lanes(const float* l) noexcept { return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])); }

float dot(const float* a, const float* b, std::size_t n) noexcept {
  float lane[lanes] = {};
  for (std::size_t c = 0; c < n; c += lanes)
    for (std::size_t l = 0; l < lanes; ++l) lane[l] += a[c + l] * b[c + l];
  return sum_lanes(lane);
}

float from_bf16(std::uint16_t v) noexcept { return std::bit_cast<float>(std::uint32_t{v} << 16); }

float from_f16(std::uint16_t v) noexcept {
  const auto sign = std::uint32_t{v & 0x8000u} << 16;
  const auto magnitude = std::uint32_t{v & 0x7fffu};
  if (magnitude >= 0x7c00u) {  // infinite, or NaN made quiet as the processor does
    const auto quiet = magnitude > 0x7c00u ? 0x0040'0000u : 0u;
    return std::bit_cast<float>(sign | 0x7f80'0000u | ((magnitude & 0x3ffu) << 13) | quiet);
  }
  // The exponent moves from bias 15 to 127 by one exact multiplication, which handles subnormal numbers too.
  const auto scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign);
}

std::array<float, 256> make_f8_table() {
  std::array<float, 256> table{};
  for (std::uint32_t v = 0; v < 256; ++v) {
    const auto magnitude = v & 0x7fu;
    const auto value =
        magnitude == 0x7fu ? std::numeric_limits<float>::quiet_NaN() : std::bit_cast<float>(magnitude << 20) * 0x1p120f;
    table[v] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | ((v & 0x80u) << 24));
  }
  return table;
}

void widen_f8_row(const matrix& w, std::uint32_t row, float* out) {
  static const auto table = make_f8_table();
  const auto* in = w.data + std::size_t{row} * w.cols;
  const auto per_row = (w.cols + w.scale_block - 1) / w.scale_block;
  const auto* scales = w.scales + std::size_t{row / w.scale_block} * per_row;
  for (std::uint32_t block = 0; block < per_row; ++block) {
    const auto end = std::min(w.cols, (block + 1) * w.scale_block);
    for (auto c = block * w.scale_block; c < end; ++c) out[c] = table[static_cast<std::uint8_t>(in[c])] * scales[block];
  }
}

}  // namespace

matrix view(const std::byte* base, const tensor_slot& t) {
  return {base + t.offset, t.type, t.rows, t.cols, nullptr, 0};
}

matrix view(const std::byte* base, const tensor_slot& t, const tensor_slot* scales, std::uint32_t scale_block) {
  auto m = view(base, t);
  if (scales != nullptr) {
    m.scales = reinterpret_cast<const float*>(base + scales->offset);
    m.scale_block = scale_block;
  }
  return m;
}

isa best_isa() noexcept {
#if defined(__x86_64__)
  static const bool fast = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  return fast ? isa::avx2 : isa::portable;
#else
  return isa::portable;
#endif
}

void multiply(const matrix& w, const float* x, std::uint32_t tokens, float* y, isa with) {
  if (with == isa::avx2) return detail::multiply_avx2(w, x, tokens, y);
  detail::multiply_portable(w, x, tokens, y);
}

void widen_row(const matrix& w, std::uint32_t row, float* out, isa with) {
  if (with == isa::avx2) return detail::widen_row_avx2(w, row, out);
  detail::widen_row_portable(w, row, out);
}

void rms_norm(const float* x, const float* weight, float eps, std::uint32_t n, float* y) {
  const auto mean = dot(x, x, n) / static_cast<float>(n);
  const auto scale = 1.0f / std::sqrt(mean + eps);
  for (std::uint32_t c = 0; c < n; ++c) y[c] = x[c] * scale * weight[c];
}

float exponential(float x) noexcept {
  constexpr float round_here = 12582912.0f;  // 1.5 * 2^23: adding it leaves a float's nearest integer in the low bits
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const auto shifted = x * 1.44269504f + round_here;
  const auto n = shifted - round_here;
  auto r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  auto p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const auto exponent = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(round_here) + 127u;
  return p * std::bit_cast<float>(exponent << 23);
}

void swiglu(float* gate, const float* up, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

namespace detail {

float* row_scratch(std::size_t floats) {
  thread_local std::vector<float> scratch;
  if (scratch.size() < floats) scratch.resize(floats);
  return scratch.data();
}

void widen_row_portable(const matrix& w, std::uint32_t row, float* out) {
  const auto* in = w.data + std::size_t{row} * w.cols * size_of(w.type);
  if (w.type == dtype::f32) {
    std::memcpy(out, in, std::size_t{w.cols} * 4);
  } else if (w.type == dtype::f8_e4m3) {
    widen_f8_row(w, row, out);
  } else {
    for (std::uint32_t c = 0; c < w.cols; ++c) {
      std::uint16_t v = 0;
      std::memcpy(&v, in + std::size_t{c} * 2, 2);
      out[c] = w.type == dtype::bf16 ? from_bf16(v) : from_f16(v);
    }
  }
}

void multiply_portable(const matrix& w, const float* x, std::uint32_t tokens, float* y) {
  auto* row = row_scratch(w.cols);
  for (std::uint32_t r = 0; r < w.rows; ++r) {
    widen_row_portable(w, r, row);
    for (std::uint32_t t = 0; t < tokens; ++t)
      y[std::size_t{t} * w.rows + r] = dot(row, x + std::size_t{t} * w.cols, w.cols);
  }
}

#if !defined(__x86_64__)
void multiply_avx2(const matrix& w, const float* x, std::uint32_t tokens, float* y) {
  multiply_portable(w, x, tokens, y);
}
void widen_row_avx2(const matrix& w, std::uint32_t row, float* out) { widen_row_portable(w, row, out); }
#endif

}  // namespace detail
}  // namespace ballast::gpu::host
