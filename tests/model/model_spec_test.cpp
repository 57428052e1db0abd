#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/model/model_source.hpp"
#include "messages/settings.hpp"

namespace ballast {
namespace {

using ::testing::HasSubstr;

result<model_spec> read(const std::string& text) {
  const auto parsed = settings::from_text(text, "models.toml");
  if (!parsed) return fail(parsed.error());
  return read_model_spec(*parsed);
}

const std::string small = "name = \"m\"\nlayers = 2\nexperts = 8\ntop_k = 2\nhidden = 32\nintermediate = 16\n";

void expect_refused(const std::string& text, const std::string& naming) {
  const auto spec = read(text);
  ASSERT_FALSE(spec) << text;
  EXPECT_THAT(spec.error().text, HasSubstr(naming));
  EXPECT_EQ(spec.error().text.find('\n'), std::string::npos) << spec.error().text;
}

TEST(model_spec, reads_every_key_of_a_seeded_model) {
  const auto spec = read(small +
                         "seed = 9223372036854775807\nshared_intermediate = 24\ngroups = 4\ntop_groups = 2\n"
                         "scoring = \"sigmoid\"\nrenormalise = false\nrouter_bias = true\nrouted_scale = 2.5\n"
                         "norm_eps = 1e-5\ndtype = \"f8_e4m3\"\nscale_block = 16\nmax_layers = 1\n");
  ASSERT_TRUE(spec) << spec.error().text;
  EXPECT_EQ(spec->name, "m");
  EXPECT_TRUE(spec->checkpoint.empty());
  EXPECT_EQ(spec->seed, 9223372036854775807u);
  EXPECT_EQ(spec->max_layers, 1u);
  gpu::moe_shape expected;
  expected.layers = 2;
  expected.experts = 8;
  expected.top_k = 2;
  expected.hidden = 32;
  expected.intermediate = 16;
  expected.shared_intermediate = 24;
  expected.groups = 4;
  expected.top_groups = 2;
  expected.score = gpu::scoring::sigmoid;
  expected.renormalise = false;
  expected.router_bias = true;
  expected.routed_scale = 2.5f;
  expected.norm_eps = 1e-5f;
  expected.expert_type = gpu::dtype::f8_e4m3;
  expected.scale_block = 16;
  EXPECT_EQ(spec->shape, expected);
}

TEST(model_spec, reads_a_checkpoint) {
  const auto spec = read("name = \"m\"\ncheckpoint = \"/models/m\"\nmax_layers = 3\n");
  ASSERT_TRUE(spec) << spec.error().text;
  EXPECT_EQ(spec->checkpoint, "/models/m");
  EXPECT_EQ(spec->max_layers, 3u);
}

TEST(model_spec, keys_read_before_by_the_caller_are_known) {
  const auto parsed = settings::from_text(small + "slots_per_layer = 3\n", "models.toml");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->get("slots_per_layer", std::uint64_t{0}, 0, 100), 3u);
  EXPECT_TRUE(read_model_spec(*parsed));
}

TEST(model_spec, refuses_what_it_does_not_know_or_cannot_use) {
  expect_refused(small + "top_kk = 3\n", "top_kk");
  expect_refused("layers = 2\nexperts = 8\ntop_k = 2\nhidden = 32\nintermediate = 16\n", "name");
  expect_refused("name = \"m\"\ncheckpoint = \"/models/m\"\nexperts = 8\n", "config.json");
  expect_refused(small + "dtype = \"int4\"\n", "int4");
  expect_refused(small + "scoring = \"relu\"\n", "relu");
  expect_refused(small + "seed = \"seven\"\n", "seed");
  expect_refused("name = \"m\"\nlayers = 2\nexperts = 8\ntop_k = 9\nhidden = 32\nintermediate = 16\n", "top_k");
  expect_refused("name = \"m\"\n", "layers");
}

}  // namespace
}  // namespace ballast
