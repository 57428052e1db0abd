// An incomplete or contradictory checkpoint is refused when it is opened, in one line that names what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/checkpoint_fixture_impl.hpp"

namespace ballast {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class checkpoint_refusal : public ::testing::Test {
 protected:
  void write(hf_layout layout, gpu::dtype type) {
    const auto ok = write_checkpoint(folder_.path(), layout, test::small_shape(layout, type), 3, std::nullopt, 2);
    ASSERT_TRUE(ok) << ok.error().text;
    ASSERT_TRUE(test::open_folder(folder_.path()));
  }

  void expect_refused(errc code, const std::vector<std::string>& naming) const {
    const auto model = test::open_folder(folder_.path());
    ASSERT_FALSE(model);
    EXPECT_EQ(model.error().code, code) << model.error().text;
    EXPECT_THAT(model.error().text, HasSubstr("model 'tried': "));
    for (const auto& word : naming) EXPECT_THAT(model.error().text, HasSubstr(word));
    EXPECT_EQ(model.error().text.find('\n'), std::string::npos);
  }

  void edit_index(const std::function<void(json&)>& edit) const {
    test::edit_json(folder_.file(test::index_file), [&](json& index) { edit(index["weight_map"]); });
  }

  // The tensor's entry in whichever shard has it.
  void edit_tensor(const std::string& name, const std::function<void(json&)>& edit) const {
    const auto index = json::parse(test::read_bytes(folder_.file(test::index_file)));
    test::edit_header(folder_.file(index["weight_map"][name].get<std::string>()),
                      [&](json& header) { edit(header.at(name)); });
  }

  test::temporary_folder folder_;
};

TEST_F(checkpoint_refusal, any_missing_tensor_is_named) {
  write(hf_layout::deepseek_v3, gpu::dtype::f8_e4m3);
  const std::string whole = test::read_bytes(folder_.file(test::index_file));
  for (const char* name :
       {"model.layers.2.mlp.experts.5.up_proj.weight", "model.layers.1.mlp.experts.0.gate_proj.weight",
        "model.layers.2.mlp.experts.3.down_proj.weight_scale_inv", "model.layers.1.mlp.gate.weight",
        "model.layers.1.mlp.gate.e_score_correction_bias", "model.layers.2.mlp.shared_experts.up_proj.weight",
        "model.layers.2.mlp.shared_experts.up_proj.weight_scale_inv",
        "model.layers.2.post_attention_layernorm.weight"}) {
    edit_index([&](json& map) { ASSERT_EQ(map.erase(name), 1u) << name; });
    expect_refused(errc::not_found, {name, "missing", test::index_file, "copy or download"});
    test::write_bytes(folder_.file(test::index_file), whole);
  }
}

TEST_F(checkpoint_refusal, a_tensor_that_is_not_in_the_shard_it_should_be_in_is_named) {
  write(hf_layout::mixtral, gpu::dtype::bf16);
  const std::string name = "model.layers.0.block_sparse_moe.experts.0.w3.weight";
  edit_index([&](json& map) { map[name] = "model-00002-of-00002.safetensors"; });
  expect_refused(errc::not_found, {name, "model-00002-of-00002.safetensors"});
}

TEST_F(checkpoint_refusal, a_shard_that_is_not_there_is_named) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  std::filesystem::remove(folder_.file("model-00002-of-00002.safetensors"));
  expect_refused(errc::not_found, {"model-00002-of-00002.safetensors", "download"});
}

TEST_F(checkpoint_refusal, an_index_may_not_lead_out_of_the_folder) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  for (const char* target : {"../model.safetensors", "/etc/passwd", "", ".."}) {
    edit_index([&](json& map) { map["model.layers.0.mlp.gate.weight"] = target; });
    expect_refused(errc::malformed, {"model.layers.0.mlp.gate.weight", "plain file name"});
  }
}

TEST_F(checkpoint_refusal, an_index_that_does_not_parse) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  for (const char* text : {"", "{", "[]", "{\"weight_map\": 4}", "{}"}) {
    test::write_bytes(folder_.file(test::index_file), text);
    expect_refused(errc::malformed, {test::index_file, "weight_map"});
  }
}

TEST_F(checkpoint_refusal, a_wrong_shape) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  const std::string name = "model.layers.1.mlp.experts.4.down_proj.weight";
  edit_tensor(name, [](json& entry) { entry["shape"] = {24, 40}; });
  expect_refused(errc::corrupt, {name, "[24, 40]", "[40, 24]", ".safetensors"});
}

TEST_F(checkpoint_refusal, an_expert_in_another_dtype_than_the_rest) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  const std::string name = "model.layers.1.mlp.experts.4.down_proj.weight";
  edit_tensor(name, [](json& entry) { entry["dtype"] = "F16"; });
  expect_refused(errc::invalid_argument, {name, "F16", "BF16"});
}

TEST_F(checkpoint_refusal, a_dtype_that_no_kernel_reads) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  const std::string name = "model.layers.0.mlp.experts.0.gate_proj.weight";
  edit_tensor(name, [](json& entry) { entry["dtype"] = "I16"; });
  expect_refused(errc::invalid_argument, {name, "I16"});
}

TEST_F(checkpoint_refusal, scales_in_another_dtype_than_f32) {
  write(hf_layout::qwen3_moe, gpu::dtype::f8_e4m3);
  const std::string name = "model.layers.0.mlp.experts.0.gate_proj.weight_scale_inv";
  edit_tensor(name, [](json& entry) {
    entry["dtype"] = "BF16";  // same bytes, twice the numbers
    entry["shape"] = {entry["shape"][0], entry["shape"][1].get<int>() * 2};
  });
  expect_refused(errc::corrupt, {name});
}

TEST_F(checkpoint_refusal, a_tensor_that_no_kernel_would_read) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  const std::string name = "model.layers.1.mlp.experts.4.down_proj.weight_scale_inv";
  edit_index([&](json& map) { map[name] = "model-00002-of-00002.safetensors"; });
  expect_refused(errc::invalid_argument, {name, "read by no kernel"});
}

TEST_F(checkpoint_refusal, a_config_of_another_model) {
  write(hf_layout::qwen3_moe, gpu::dtype::bf16);
  test::edit_json(folder_.file("config.json"), [](json& config) { config["num_experts"] = 5; });
  expect_refused(errc::corrupt, {"mlp.gate.weight", "[6, 40]", "[5, 40]"});
  test::edit_json(folder_.file("config.json"), [](json& config) { config["num_experts"] = 7; });
  expect_refused(errc::corrupt, {"mlp.gate.weight", "[6, 40]"});
  test::edit_json(folder_.file("config.json"), [](json& config) { config["architectures"] = {"MixtralForCausalLM"}; });
  expect_refused(errc::malformed, {"num_local_experts"});
}

TEST_F(checkpoint_refusal, a_shard_cut_anywhere) {
  write(hf_layout::mixtral, gpu::dtype::bf16);
  const std::string shard = folder_.file("model-00002-of-00002.safetensors");
  const std::string whole = test::read_bytes(shard);
  for (std::size_t length = 0; length < whole.size(); length += whole.size() / 50 + 1) {
    test::write_bytes(shard, whole.substr(0, length));
    const auto model = test::open_folder(folder_.path());
    ASSERT_FALSE(model) << length;
    EXPECT_EQ(model.error().code, errc::corrupt) << model.error().text;
    EXPECT_THAT(model.error().text, HasSubstr("model-00002-of-00002.safetensors"));
  }
}

TEST_F(checkpoint_refusal, a_shard_that_shrinks_while_the_model_is_open) {
  write(hf_layout::mixtral, gpu::dtype::bf16);
  const auto model = test::open_folder(folder_.path());
  ASSERT_TRUE(model);
  for (const char* shard : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    std::filesystem::resize_file(folder_.file(shard), 4096);
  }
  std::vector<std::byte> bytes(gpu::expert_layout((*model)->shape()).bytes);
  EXPECT_EQ((*model)->bundle(1, 5, bytes).error().code, errc::corrupt);
  EXPECT_EQ((*model)->dense().error().code, errc::corrupt);
}

TEST_F(checkpoint_refusal, an_empty_or_missing_folder) {
  expect_refused(errc::not_found, {"config.json", "'checkpoint' must name"});
  write(hf_layout::mixtral, gpu::dtype::bf16);
  std::filesystem::remove(folder_.file(test::index_file));
  expect_refused(errc::not_found, {"model.safetensors", "safetensors checkpoint"});
  EXPECT_EQ(test::open_folder("/nowhere/at/all").error().code, errc::not_found);
}

}  // namespace
}  // namespace ballast
