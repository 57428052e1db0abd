#include "agent/model/seeded_model.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "agent/model/random_weights.hpp"
#include "gpu/host/reference.hpp"
#include "tests/model/bundle_of.hpp"
#include "tests/model/checkpoint_fixture_impl.hpp"

namespace ballast {
namespace {

std::unique_ptr<model_source> open_seed(std::uint64_t seed, gpu::dtype type = gpu::dtype::bf16) {
  model_spec spec;
  spec.name = "seeded";
  spec.seed = seed;
  spec.shape = test::small_shape(hf_layout::deepseek_v3, type);
  auto model = open_model(spec);
  EXPECT_TRUE(model);
  return std::move(*model);
}

TEST(random_values, are_the_same_on_every_machine) {
  const random_values values(7, {1, 2, 3});
  EXPECT_EQ(values.bits(0), 0xe5d37bb884042b5dULL);
  EXPECT_EQ(values.bits(1'000'000'007), 0x7435208c8c92da02ULL);
}

TEST(random_values, are_normal_enough) {
  std::vector<float> values(100'000);
  random_values(1, {9, 0, 0}).fill_normal(values, 2.0f, 1.0f);
  double mean = 0, square = 0;
  for (const float value : values) mean += value / 1e5;
  for (const float value : values) square += (value - mean) * (value - mean) / 1e5;
  EXPECT_NEAR(mean, 1.0, 0.03);
  EXPECT_NEAR(square, 4.0, 0.08);
}

TEST(seeded_model, equal_seeds_give_equal_bits) {
  for (const auto type : {gpu::dtype::f32, gpu::dtype::bf16, gpu::dtype::f16, gpu::dtype::f8_e4m3}) {
    const auto one = open_seed(5, type), other = open_seed(5, type);
    EXPECT_EQ(one->fingerprint(), other->fingerprint());
    EXPECT_EQ(*one->dense(), *other->dense());
    EXPECT_EQ(bundle_of(*one, 1, 3), bundle_of(*other, 1, 3));
  }
}

TEST(seeded_model, another_seed_layer_or_expert_gives_other_bits) {
  const auto one = open_seed(5), other = open_seed(6);
  EXPECT_NE(one->fingerprint(), other->fingerprint());
  EXPECT_NE(*one->dense(), *other->dense());
  const auto bytes = bundle_of(*one, 0, 0);
  EXPECT_NE(bytes, bundle_of(*other, 0, 0));
  EXPECT_NE(bytes, bundle_of(*one, 0, 1));
  EXPECT_NE(bytes, bundle_of(*one, 1, 0));
}

TEST(seeded_model, max_layers_keeps_the_first_layers) {
  model_spec spec;
  spec.name = "seeded";
  spec.seed = 5;
  spec.max_layers = 1;
  spec.shape = test::small_shape(hf_layout::deepseek_v3, gpu::dtype::bf16);
  const auto model = open_model(spec);
  ASSERT_TRUE(model);
  EXPECT_EQ((*model)->shape().layers, 1u);
  const auto whole = open_seed(5);
  EXPECT_EQ(bundle_of(**model, 0, 2), bundle_of(*whole, 0, 2));
  EXPECT_NE((*model)->fingerprint(), whole->fingerprint());
}

TEST(seeded_model, refuses_an_expert_that_is_not_there_and_a_buffer_that_does_not_fit) {
  const auto model = open_seed(5);
  std::vector<std::byte> bytes(gpu::expert_layout(model->shape()).bytes);
  EXPECT_FALSE(model->bundle(2, 0, bytes));
  EXPECT_FALSE(model->bundle(0, 6, bytes));
  bytes.pop_back();
  EXPECT_FALSE(model->bundle(0, 0, bytes));
}

TEST(seeded_model, refuses_an_impossible_shape) {
  model_spec spec;
  spec.name = "seeded";
  spec.shape = test::small_shape(hf_layout::qwen3_moe, gpu::dtype::bf16);
  spec.shape.top_k = 7;
  const auto model = open_model(spec);
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().text.find("top_k"), std::string::npos) << model.error().text;
}

TEST(seeded_model, activations_stay_sane_over_many_decode_steps) {
  for (const auto type : {gpu::dtype::bf16, gpu::dtype::f8_e4m3}) {
    const auto model = open_seed(11, type);
    const auto dense = *model->dense();
    std::vector<float> hidden(8 * model->shape().hidden);
    random_values(1, {200, 0, 0}).fill_normal(hidden, 1.0f);
    std::vector<float> before = hidden;
    std::vector<std::byte> bytes;
    const auto fetch = [&](std::uint32_t layer, std::uint32_t expert) -> result<std::span<const std::byte>> {
      bytes = bundle_of(*model, layer, expert);
      return std::span<const std::byte>(bytes);
    };
    for (int step = 0; step < 32; ++step) {
      ASSERT_TRUE(gpu::host::reference_forward(model->shape(), dense, fetch, hidden, 8));
    }
    double moved = 0, size = 0;
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      ASSERT_TRUE(std::isfinite(hidden[i]));
      moved += std::pow(hidden[i] - before[i], 2);
      size += std::pow(before[i], 2);
    }
    EXPECT_GT(moved, 1e-4 * size);  // experts do something
    EXPECT_LT(moved, 9 * size);     // and do not run away
  }
}

}  // namespace
}  // namespace ballast
