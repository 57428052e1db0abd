#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agent/model/hf_layout.hpp"

namespace ballast {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json qwen() {
  return json::parse(R"({"architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "decoder_sparse_step": 1,
    "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144, "mlp_only_layers": [],
    "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32,
    "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "rms_norm_eps": 1e-06,
    "torch_dtype": "bfloat16", "vocab_size": 151936})");
}
json mixtral() {
  return json::parse(R"({"architectures": ["MixtralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
    "intermediate_size": 14336, "model_type": "mixtral", "num_experts_per_tok": 2, "num_hidden_layers": 32,
    "num_local_experts": 8, "rms_norm_eps": 1e-05, "sliding_window": null, "torch_dtype": "bfloat16"})");
}
json deepseek() {
  return json::parse(R"({"architectures": ["DeepseekV3ForCausalLM"], "ep_size": 1, "first_k_dense_replace": 3,
    "hidden_act": "silu", "hidden_size": 7168, "intermediate_size": 18432, "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1,
    "norm_topk_prob": true, "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_nextn_predict_layers": 1,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
    "weight_block_size": [128, 128]}, "rms_norm_eps": 1e-06, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
    "topk_group": 4, "topk_method": "noaux_tc"})");
}

result<hf_model> read(const json& config, std::uint32_t max_layers = 0) {
  return read_hf_config(config.dump(), "here/config.json", max_layers);
}

void expect_refused(json config, const std::string& key, const json& value, errc code, const std::string& naming) {
  if (value.is_discarded())
    config.erase(key);
  else
    config[key] = value;
  const auto model = read(config);
  ASSERT_FALSE(model) << key;
  EXPECT_EQ(model.error().code, code) << model.error().text;
  EXPECT_THAT(model.error().text, HasSubstr(naming));
  EXPECT_THAT(model.error().text, HasSubstr("here/config.json"));
  EXPECT_EQ(model.error().text.find('\n'), std::string::npos);
}
const json removed(json::value_t::discarded);

TEST(hf_config, reads_qwen3_moe) {
  const auto model = read(qwen());
  ASSERT_TRUE(model) << model.error().text;
  gpu::moe_shape expected;
  expected.layers = 48;
  expected.experts = 128;
  expected.top_k = 8;
  expected.hidden = 2048;
  expected.intermediate = 768;
  EXPECT_EQ(model->shape, expected);
  EXPECT_EQ(model->layout, hf_layout::qwen3_moe);
  EXPECT_EQ(model->decoder_layers.size(), 48u);
  EXPECT_EQ(model->decoder_layers.front(), 0u);
}

TEST(hf_config, reads_mixtral) {
  const auto model = read(mixtral());
  ASSERT_TRUE(model) << model.error().text;
  gpu::moe_shape expected;
  expected.layers = 32;
  expected.experts = 8;
  expected.top_k = 2;
  expected.hidden = 4096;
  expected.intermediate = 14336;
  expected.norm_eps = 1e-5f;
  EXPECT_EQ(model->shape, expected);
  EXPECT_EQ(model->layout, hf_layout::mixtral);
}

TEST(hf_config, reads_deepseek_v3_and_passes_over_its_dense_layers) {
  const auto model = read(deepseek());
  ASSERT_TRUE(model) << model.error().text;
  gpu::moe_shape expected;
  expected.layers = 58;
  expected.experts = 256;
  expected.top_k = 8;
  expected.hidden = 7168;
  expected.intermediate = 2048;
  expected.shared_intermediate = 2048;
  expected.groups = 8;
  expected.top_groups = 4;
  expected.score = gpu::scoring::sigmoid;
  expected.router_bias = true;
  expected.routed_scale = 2.5f;
  expected.scale_block = 128;
  EXPECT_EQ(model->shape, expected);
  EXPECT_EQ(model->decoder_layers.front(), 3u);
  EXPECT_EQ(model->decoder_layers.back(), 60u);
}

TEST(hf_config, keeps_only_sparse_layers_and_at_most_max_layers) {
  json config = qwen();
  config["num_hidden_layers"] = 8;
  config["decoder_sparse_step"] = 2;
  config["mlp_only_layers"] = {3};
  EXPECT_THAT(read(config)->decoder_layers, ElementsAre(1u, 5u, 7u));
  const auto cut = read(config, 2);
  EXPECT_THAT(cut->decoder_layers, ElementsAre(1u, 5u));
  EXPECT_EQ(cut->shape.layers, 2u);
  EXPECT_EQ(read(config, 99)->shape.layers, 3u);
}

TEST(hf_config, knows_the_defaults_of_each_architecture) {
  json config = qwen();
  config.erase("norm_topk_prob");
  EXPECT_FALSE(read(config)->shape.renormalise);
  config = mixtral();
  config.erase("architectures");  // model_type suffices
  EXPECT_TRUE(read(config)->shape.renormalise);
  config = deepseek();
  config["n_shared_experts"] = nullptr;
  EXPECT_EQ(read(config)->shape.shared_intermediate, 0u);
}

TEST(hf_config, refuses_an_unknown_architecture_and_lists_the_known) {
  expect_refused(qwen(), "architectures", {"Qwen2MoeForCausalLM"}, errc::invalid_argument, "Qwen2MoeForCausalLM");
  expect_refused(qwen(), "architectures", {"LlamaForCausalLM"}, errc::invalid_argument, "DeepseekV3ForCausalLM");
  json config = qwen();
  config.erase("architectures");
  expect_refused(config, "model_type", removed, errc::invalid_argument, "none named");
}

TEST(hf_config, refuses_missing_and_mistyped_keys) {
  expect_refused(qwen(), "num_experts", removed, errc::malformed, "'num_experts' is missing");
  expect_refused(mixtral(), "num_local_experts", nullptr, errc::malformed, "'num_local_experts' is missing");
  expect_refused(deepseek(), "hidden_size", "large", errc::malformed, "'hidden_size' must be");
  expect_refused(deepseek(), "n_group", -8, errc::malformed, "'n_group' must be");
  expect_refused(qwen(), "norm_topk_prob", 1, errc::malformed, "'norm_topk_prob' must be");
  expect_refused(qwen(), "num_hidden_layers", 1'000'000, errc::invalid_argument, "layers");
  expect_refused(qwen(), "num_experts_per_tok", 129, errc::invalid_argument, "top_k");
}

TEST(hf_config, refuses_what_no_kernel_computes) {
  expect_refused(qwen(), "mlp_only_layers", "all", errc::invalid_argument, "mlp_only_layers");
  expect_refused(qwen(), "hidden_act", "gelu", errc::invalid_argument, "gelu");
  expect_refused(deepseek(), "topk_method", "group_limited_greedy", errc::invalid_argument, "group_limited_greedy");
  expect_refused(deepseek(), "scoring_func", "tanh", errc::invalid_argument, "tanh");
  expect_refused(qwen(), "quantization_config", {{"quant_method", "awq"}}, errc::invalid_argument, "awq");
  expect_refused(qwen(), "quantization_config", {{"quant_method", "fp8"}}, errc::invalid_argument, "weight_block_size");
  expect_refused(qwen(), "quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", {1, 128}}},
                 errc::invalid_argument, "weight_block_size");
}

TEST(hf_config, refuses_text_that_is_no_json_object) {
  for (const char* text : {"", "{", "[1]", "null", "\xff\xfe", "{\"architectures\": ["}) {
    const auto model = read_hf_config(text, "here/config.json");
    ASSERT_FALSE(model) << text;
    EXPECT_EQ(model.error().code, errc::malformed);
  }
}

TEST(hf_config, tensors_have_the_names_of_the_real_checkpoints) {
  EXPECT_EQ(expert_tensor(hf_layout::qwen3_moe, 4, 17, "gate"), "model.layers.4.mlp.experts.17.gate_proj.weight");
  EXPECT_EQ(expert_tensor(hf_layout::mixtral, 4, 7, "gate"), "model.layers.4.block_sparse_moe.experts.7.w1.weight");
  EXPECT_EQ(expert_tensor(hf_layout::mixtral, 4, 7, "up"), "model.layers.4.block_sparse_moe.experts.7.w3.weight");
  EXPECT_EQ(expert_tensor(hf_layout::mixtral, 4, 7, "down"), "model.layers.4.block_sparse_moe.experts.7.w2.weight");
  EXPECT_EQ(expert_tensor(hf_layout::deepseek_v3, 3, 1, "down_scale"),
            "model.layers.3.mlp.experts.1.down_proj.weight_scale_inv");
  EXPECT_EQ(dense_tensor(hf_layout::mixtral, 0, "router"), "model.layers.0.block_sparse_moe.gate.weight");
  EXPECT_EQ(dense_tensor(hf_layout::deepseek_v3, 3, "router_bias"), "model.layers.3.mlp.gate.e_score_correction_bias");
  EXPECT_EQ(dense_tensor(hf_layout::deepseek_v3, 3, "shared_up"), "model.layers.3.mlp.shared_experts.up_proj.weight");
  EXPECT_EQ(dense_tensor(hf_layout::qwen3_moe, 3, "norm"), "model.layers.3.post_attention_layernorm.weight");
}

}  // namespace
}  // namespace ballast
