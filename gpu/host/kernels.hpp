// The arithmetic of the host backend. A result element is always computed by the same operations in the same order,
// whatever else is in the batch and whichever instruction set runs it: answers are compared bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gpu/model_shape.hpp"

namespace ballast::gpu::host {

// Both give the same bits; `avx2` is only faster.
enum class isa : std::uint8_t { portable, avx2 };
isa best_isa() noexcept;  // of this processor

// [rows][cols], row-major; cols % 8 == 0. scales: f8_e4m3 only, [ceil(rows / block)][ceil(cols / block)].
struct matrix {
  const std::byte* data = nullptr;
  dtype type = dtype::f32;
  std::uint32_t rows = 0, cols = 0;
  const float* scales = nullptr;
  std::uint32_t scale_block = 0;
};
matrix view(const std::byte* base, const tensor_slot& tensor);
matrix view(const std::byte* base, const tensor_slot& tensor, const tensor_slot* scales, std::uint32_t scale_block);

// y[tokens][rows] = x[tokens][cols] * w^T. Order of a sum: lane l adds the products of columns l, l + 8, l + 16, …;
// then
// ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)).
void multiply(const matrix& w, const float* x, std::uint32_t tokens, float* y, isa with);
// One row of `w` as f32. Exact, but for the one rounding of value * scale.
void widen_row(const matrix& w, std::uint32_t row, float* out, isa with);

// y = x / sqrt(mean(x^2) + eps) * weight, for one token.
void rms_norm(const float* x, const float* weight, float eps, std::uint32_t n, float* y);
// gate = silu(gate) * up
void swiglu(float* gate, const float* up, std::size_t n);
// e^x from fixed operations (libm's differ between processors); relative error below 2e-7 for |x| <= 87, clamped
// beyond.
float exponential(float x) noexcept;

namespace detail {
void multiply_portable(const matrix& w, const float* x, std::uint32_t tokens, float* y);
void multiply_avx2(const matrix& w, const float* x, std::uint32_t tokens, float* y);
void widen_row_portable(const matrix& w, std::uint32_t row, float* out);
void widen_row_avx2(const matrix& w, std::uint32_t row, float* out);
float* row_scratch(std::size_t floats);  // of this thread
}  // namespace detail

}  // namespace ballast::gpu::host
