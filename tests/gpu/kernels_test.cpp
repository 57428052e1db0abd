// The arithmetic: right against double precision, and the same bits on every path and in every batch.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "gpu/host/layer.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using host::choice;
using host::isa;
using host::layer_math;

constexpr dtype every_type[] = {dtype::f32, dtype::bf16, dtype::f16, dtype::f8_e4m3};

std::uint32_t bits(float v) { return std::bit_cast<std::uint32_t>(v); }

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// A bundle's tensor as doubles, scales applied.
std::vector<double> widen(const moe_shape& shape, const std::vector<std::byte>& bundle, const std::string& name) {
  const auto layout = expert_layout(shape);
  const auto* t = layout.find(name);
  const auto* scale = layout.find(name + "_scale");
  std::vector<double> out(std::size_t{t->rows} * t->cols);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = decode(t->type, bundle.data() + t->offset + i * size_of(t->type));
    if (scale == nullptr) continue;
    const auto row = i / t->cols / shape.scale_block, col = i % t->cols / shape.scale_block;
    out[i] *= decode(dtype::f32, bundle.data() + scale->offset + (row * scale->cols + col) * 4);
  }
  return out;
}

std::vector<double> times(const std::vector<double>& w, const std::vector<double>& x) {
  std::vector<double> y(w.size() / x.size());
  for (std::size_t r = 0; r < y.size(); ++r)
    y[r] = std::inner_product(x.begin(), x.end(), w.begin() + static_cast<std::ptrdiff_t>(r * x.size()), 0.0);
  return y;
}

std::vector<double> swiglu(const std::vector<double>& gate, const std::vector<double>& up,
                           const std::vector<double>& down, const std::vector<double>& x) {
  auto inner = times(gate, x);
  const auto u = times(up, x);
  for (std::size_t i = 0; i < inner.size(); ++i) inner[i] = inner[i] / (1 + std::exp(-inner[i])) * u[i];
  return times(down, inner);
}

std::vector<double> dense_tensor(const moe_shape& shape, const model_data& model, std::uint32_t layer,
                                 const std::string& name) {
  const auto layout = dense_layout(shape);
  const auto* t = layout.find(name);
  std::vector<double> out(std::size_t{t->rows} * t->cols);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = decode(dtype::f32, model.dense.data() + layer * layout.bytes + t->offset + i * 4);
  return out;
}

std::vector<double> naive_layer(const model_data& model, std::uint32_t layer, std::vector<double> x,
                                const std::vector<choice>& chosen) {
  const auto& s = model.shape;
  const auto norm = dense_tensor(s, model, layer, "norm");
  double mean = 0;
  for (const auto v : x) mean += v * v / static_cast<double>(x.size());
  auto n = x;
  for (std::size_t i = 0; i < n.size(); ++i) n[i] = x[i] / std::sqrt(mean + s.norm_eps) * norm[i];
  for (const auto& c : chosen) {
    const auto& b = model.bundles[layer][c.expert];
    const auto y = swiglu(widen(s, b, "gate"), widen(s, b, "up"), widen(s, b, "down"), n);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += static_cast<double>(c.weight) * y[i];
  }
  if (s.shared_intermediate != 0) {
    const auto y = swiglu(dense_tensor(s, model, layer, "shared_gate"), dense_tensor(s, model, layer, "shared_up"),
                          dense_tensor(s, model, layer, "shared_down"), n);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }
  return x;
}

TEST(kernels, a_layer_is_close_to_double_precision_for_every_type) {
  for (const auto type : every_type) {
    auto shape = small_shape(type);
    shape.layers = 1;
    const auto model = make_model(shape, 7);
    const layer_math math(shape);
    const auto hidden = make_hidden(shape, 5, 8);
    const auto got = reference(model, hidden);
    ASSERT_EQ(got.size(), hidden.size());
    layer_math::workspace work;
    for (std::size_t t = 0; t < 5; ++t) {
      std::vector<float> normed(shape.hidden);
      std::vector<choice> chosen(shape.top_k);
      math.norm(model.dense.data(), hidden.data() + t * shape.hidden, 1, normed.data());
      math.route(model.dense.data(), normed.data(), 1, chosen.data(), work);
      const auto first = hidden.begin() + static_cast<std::ptrdiff_t>(t * shape.hidden);
      const auto expected = naive_layer(model, 0, {first, first + shape.hidden}, chosen);
      for (std::size_t i = 0; i < shape.hidden; ++i)
        ASSERT_NEAR(got[t * shape.hidden + i], expected[i], 2e-4 * (1 + std::fabs(expected[i])))
            << static_cast<int>(type);
    }
  }
}

TEST(kernels, both_instruction_sets_give_the_same_bits) {
  if (host::best_isa() == isa::portable) GTEST_SKIP() << "this processor has only one";
  std::mt19937_64 random(3);
  for (const auto type : every_type)
    for (const std::uint32_t cols : {8u, 24u, 64u, 200u})
      for (const std::uint32_t rows : {1u, 3u, 6u, 17u})
        for (const std::uint32_t block : {16u, 5u})
          for (const std::uint32_t tokens : {1u, 2u, 3u, 4u, 7u, 64u}) {
            std::vector<std::byte> data(std::size_t{rows} * cols * size_of(type));
            for (std::size_t i = 0; i < std::size_t{rows} * cols; ++i)
              encode(type, std::uniform_real_distribution<float>(-2, 2)(random), data.data() + i * size_of(type));
            std::vector<float> scales(((rows + block - 1) / block) * ((cols + block - 1) / block), 0.37f);
            const host::matrix w{data.data(), type, rows, cols, scales.data(), block};
            std::vector<float> x(std::size_t{tokens} * cols), fast(std::size_t{tokens} * rows), plain(fast.size());
            for (auto& v : x) v = std::normal_distribution<float>()(random);
            host::multiply(w, x.data(), tokens, fast.data(), isa::avx2);
            host::multiply(w, x.data(), tokens, plain.data(), isa::portable);
            ASSERT_TRUE(same_bits(fast, plain))
                << static_cast<int>(type) << " " << rows << "x" << cols << " by " << tokens;
          }
}

TEST(kernels, every_narrow_value_widens_exactly_on_both_paths) {
  for (const auto type : {dtype::bf16, dtype::f16, dtype::f8_e4m3}) {
    const std::uint32_t values = type == dtype::f8_e4m3 ? 256 : 65536;
    std::vector<std::byte> data(values * size_of(type));
    for (std::uint32_t v = 0; v < values; ++v) std::memcpy(data.data() + v * size_of(type), &v, size_of(type));
    const float one = 1;
    const host::matrix w{data.data(), type, 1, values, &one, values};
    std::vector<float> plain(values), fast(values);
    host::widen_row(w, 0, plain.data(), isa::portable);
    host::widen_row(w, 0, fast.data(), host::best_isa());
    for (std::uint32_t v = 0; v < values; ++v) {
      ASSERT_EQ(bits(plain[v]), bits(fast[v])) << v;
      const bool nan = type == dtype::f8_e4m3 ? (v & 0x7f) == 0x7f
                       : type == dtype::f16   ? (v & 0x7fff) > 0x7c00
                                              : (v & 0x7fff) > 0x7f80;
      const bool infinite = type != dtype::f8_e4m3 && (v & 0x7fff) == (type == dtype::f16 ? 0x7c00u : 0x7f80u);
      if (nan) {
        ASSERT_TRUE(std::isnan(plain[v])) << v;
      } else if (infinite) {
        ASSERT_TRUE(std::isinf(plain[v])) << v;
      } else {
        ASSERT_EQ(plain[v], decode(type, data.data() + v * size_of(type))) << v;
      }
    }
  }
}

TEST(kernels, the_exponential_is_accurate_and_stays_finite) {
  for (float x = -86.5f; x < 87.5f; x += 0.0173f)
    ASSERT_NEAR(host::exponential(x) / std::exp(static_cast<double>(x)), 1.0, 2e-7) << x;
  EXPECT_TRUE(std::isfinite(host::exponential(1e30f)));
  EXPECT_GT(host::exponential(-1e30f), 0.0f);
  EXPECT_TRUE(std::isnan(host::exponential(std::numeric_limits<float>::quiet_NaN())));
}

// Any batch of any of 64 tokens in any order gives each token the bits that it has alone.
TEST(kernels, a_token_has_the_same_bits_in_every_batch) {
  for (const auto type : every_type) {
    auto shape = small_shape(type);
    const auto model = make_model(shape, 11);
    const layer_math math(shape);
    const auto rows = make_hidden(shape, 64, 12);
    const std::size_t width = shape.hidden;
    layer_math::workspace work;
    std::vector<float> alone(rows.size());
    std::vector<choice> alone_choice(64 * shape.top_k);
    for (std::size_t t = 0; t < 64; ++t) {
      math.run_expert(model.bundles[0][2].data(), rows.data() + t * width, 1, alone.data() + t * width, work);
      math.route(model.dense.data(), rows.data() + t * width, 1, alone_choice.data() + t * shape.top_k, work);
    }
    std::mt19937_64 random(13);
    for (std::uint32_t size = 1; size <= 64; ++size) {
      std::vector<std::size_t> picked(64);
      std::iota(picked.begin(), picked.end(), 0);
      std::shuffle(picked.begin(), picked.end(), random);
      std::vector<float> batch, out(size * width);
      for (std::uint32_t i = 0; i < size; ++i)
        batch.insert(batch.end(), rows.data() + picked[i] * width, rows.data() + (picked[i] + 1) * width);
      std::vector<choice> chosen(size * shape.top_k);
      math.run_expert(model.bundles[0][2].data(), batch.data(), size, out.data(), work);
      math.route(model.dense.data(), batch.data(), size, chosen.data(), work);
      for (std::uint32_t i = 0; i < size; ++i) {
        ASSERT_TRUE(same_bits({out.data() + i * width, width}, {alone.data() + picked[i] * width, width})) << size;
        for (std::uint32_t k = 0; k < shape.top_k; ++k) {
          const auto &a = chosen[i * shape.top_k + k], &b = alone_choice[picked[i] * shape.top_k + k];
          ASSERT_EQ(a.expert, b.expert);
          ASSERT_EQ(bits(a.weight), bits(b.weight));
        }
      }
    }
  }
}

// A shape whose router passes its input through: logit e is x[e].
struct router {
  explicit router(moe_shape s) : shape(std::move(s)) {
    shape.hidden = shape.experts;
    shape.shared_intermediate = 0;
    dense.resize(dense_layout(shape).bytes);
    const auto layout = dense_layout(shape);
    for (std::uint32_t e = 0; e < shape.experts; ++e) set("router", std::size_t{e} * shape.hidden + e, 1);
  }
  void set(const char* tensor, std::size_t at, float v) {
    std::memcpy(dense.data() + dense_layout(shape).find(tensor)->offset + at * 4, &v, 4);
  }
  std::vector<choice> operator()(const std::vector<float>& logits) const {
    std::vector<choice> out(shape.top_k);
    layer_math::workspace work;
    layer_math(shape).route(dense.data(), logits.data(), 1, out.data(), work);
    return out;
  }
  moe_shape shape;
  std::vector<std::byte> dense;
};

std::vector<std::uint32_t> experts(const std::vector<choice>& chosen) {
  std::vector<std::uint32_t> out;
  for (const auto& c : chosen) out.push_back(c.expert);
  return out;
}

using ids = std::vector<std::uint32_t>;

TEST(router, softmax_weights_are_probabilities_renormalised_over_the_chosen) {
  auto shape = small_shape();
  const std::vector<float> logits{0, 1, 5, 2, -1, 4, 0, 3};
  shape.renormalise = false;
  const auto plain = router(shape)(logits);
  EXPECT_EQ(experts(plain), (ids{2, 5, 7}));
  double sum = 0, chosen_sum = 0;
  for (const auto l : logits) sum += std::exp(l);
  for (const auto& c : plain) {
    EXPECT_NEAR(c.weight, std::exp(logits[c.expert]) / sum, 1e-6);
    chosen_sum += c.weight;
  }
  shape.renormalise = true;
  shape.routed_scale = 2.5f;
  for (std::size_t k = 0; const auto& c : router(shape)(logits))
    EXPECT_NEAR(c.weight, 2.5 * plain[k++].weight / chosen_sum, 1e-5);
}

TEST(router, ties_go_to_the_lower_expert) {
  EXPECT_EQ(experts(router(small_shape())({1, 2, 2, 1, 2, 2, 1, 1})), (ids{1, 2, 4}));
  EXPECT_EQ(experts(router(small_shape())(std::vector<float>(8, 0))), (ids{0, 1, 2}));
}

TEST(router, a_bias_changes_the_choice_but_not_the_weights) {
  auto shape = small_shape();
  shape.score = scoring::sigmoid;
  shape.router_bias = true;
  shape.renormalise = false;
  router r(shape);
  r.set("router_bias", 6, 3);
  const std::vector<float> logits{0, 1, 2, 3, -1, -2, -3, 0.5f};
  const auto chosen = r(logits);
  EXPECT_EQ(experts(chosen), (ids{6, 3, 2}));
  for (const auto& c : chosen) EXPECT_NEAR(c.weight, 1 / (1 + std::exp(-static_cast<double>(logits[c.expert]))), 1e-6);
}

TEST(router, sigmoid_groups_are_ranked_by_their_two_best_experts) {
  auto shape = small_shape();
  shape.score = scoring::sigmoid;
  shape.groups = 4;
  shape.top_groups = 2;
  // Pairs: the best single expert (0) sits in a group whose sum is below those of groups 1 and 3.
  EXPECT_EQ(experts(router(shape)({3, -9, 1, 1.1f, -1, -1, 0.9f, 1.2f})), (ids{7, 3, 2}));
}

TEST(router, softmax_groups_are_ranked_by_their_best_expert) {
  auto shape = small_shape();
  shape.groups = 4;
  shape.top_groups = 2;
  EXPECT_EQ(experts(router(shape)({3, -9, 1, 1.1f, -1, -1, 0.9f, 1.2f})), (ids{0, 7, 6}));
}

TEST(router, numbers_that_are_none_still_choose_distinct_experts) {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::uint32_t groups : {1u, 4u}) {
    auto shape = small_shape();
    shape.groups = groups;
    shape.top_groups = groups == 1 ? 1 : 2;
    EXPECT_EQ(experts(router(shape)(std::vector<float>(8, nan))), (ids{0, 1, 2}));
  }
}

}  // namespace
}  // namespace ballast::gpu::test
