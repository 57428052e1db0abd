#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "agent/model/hf_layout.hpp"

namespace ballast {
namespace {

using nlohmann::json;

// Reads keys of one JSON object and remembers the first fault. A null counts as absent, as the files mean it.
class config_reader {
 public:
  config_reader(const json& object, const std::string& where) : object_(object), where_(where) {}

  const json* find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  std::uint32_t number(const char* key, std::optional<std::uint32_t> otherwise = {}) {
    const json* value = find(key);
    if (value == nullptr) return otherwise ? *otherwise : missing(key);
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > 1u << 24) return wrong(key, "a whole number");
    return value->get<std::uint32_t>();
  }

  float real(const char* key, float otherwise) {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number()) return static_cast<float>(wrong(key, "a number"));
    return value->get<float>();
  }

  bool flag(const char* key, bool otherwise) {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) return wrong(key, "true or false") != 0;
    return value->get<bool>();
  }

  std::string text(const char* key, const std::string& otherwise) {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) {
      wrong(key, "a string");
      return otherwise;
    }
    return value->get<std::string>();
  }

  void cannot_run(const std::string& why) { note(errc::invalid_argument, why); }
  const status& verdict() const { return verdict_; }

 private:
  std::uint32_t missing(const std::string& key) {
    note(errc::malformed, "'" + key + "' is missing: take config.json from the model's own repository");
    return 0;
  }
  std::uint32_t wrong(const std::string& key, const std::string& kind) {
    note(errc::malformed, "'" + key + "' must be " + kind + ": take config.json from the model's own repository");
    return 0;
  }
  void note(errc code, const std::string& what) {
    if (verdict_) verdict_ = fail(code, where_ + ": " + what);
  }

  const json& object_;
  const std::string& where_;
  status verdict_;
};

std::optional<hf_layout> layout_named(const json& config) {
  std::string architecture, type;
  if (const auto it = config.find("architectures"); it != config.end() && it->is_array() && !it->empty()) {
    if (it->front().is_string()) architecture = it->front().get<std::string>();
  }
  if (const auto it = config.find("model_type"); it != config.end() && it->is_string()) type = it->get<std::string>();
  for (const hf_layout layout : {hf_layout::qwen3_moe, hf_layout::mixtral, hf_layout::deepseek_v3}) {
    if (architecture.empty() ? type == to_string(layout) : architecture == architecture_of(layout)) return layout;
  }
  return std::nullopt;
}

std::string unknown_architecture(const json& config, const std::string& where) {
  const json* named = nullptr;
  for (const char* key : {"architectures", "model_type"}) {
    if (const auto it = config.find(key); it != config.end() && named == nullptr) named = &*it;
  }
  return where + ": architecture " + (named == nullptr ? "(none named)" : named->dump().substr(0, 80)) +
         " is not one this program runs: Qwen3MoeForCausalLM, MixtralForCausalLM, DeepseekV3ForCausalLM";
}

void read_qwen3(config_reader& in, hf_model& model) {
  gpu::moe_shape& s = model.shape;
  s.experts = in.number("num_experts");
  s.top_k = in.number("num_experts_per_tok");
  s.intermediate = in.number("moe_intermediate_size");
  s.renormalise = in.flag("norm_topk_prob", false);
  const std::uint32_t layers = in.number("num_hidden_layers");
  const std::uint32_t every = std::max(1u, in.number("decoder_sparse_step", 1));
  std::vector<std::uint32_t> plain;
  if (const json* list = in.find("mlp_only_layers"); list != nullptr) {
    if (!list->is_array()) in.cannot_run("'mlp_only_layers' must be a list of layer numbers");
    for (const json& entry : *list) {
      if (entry.is_number_unsigned()) plain.push_back(entry.get<std::uint32_t>());
    }
  }
  for (std::uint32_t layer = 0; layer < std::min(layers, 4097u); ++layer) {
    const bool dense = std::find(plain.begin(), plain.end(), layer) != plain.end();
    if (!dense && (layer + 1) % every == 0) model.decoder_layers.push_back(layer);
  }
}

void read_mixtral(config_reader& in, hf_model& model) {
  gpu::moe_shape& s = model.shape;
  s.experts = in.number("num_local_experts");
  s.top_k = in.number("num_experts_per_tok");
  s.intermediate = in.number("intermediate_size");
  s.norm_eps = in.real("rms_norm_eps", 1e-5f);
  const std::uint32_t layers = in.number("num_hidden_layers");
  for (std::uint32_t layer = 0; layer < std::min(layers, 4097u); ++layer) model.decoder_layers.push_back(layer);
}

void read_deepseek(config_reader& in, hf_model& model) {
  gpu::moe_shape& s = model.shape;
  s.experts = in.number("n_routed_experts");
  s.top_k = in.number("num_experts_per_tok");
  s.intermediate = in.number("moe_intermediate_size");
  const std::uint64_t shared = std::uint64_t{in.number("n_shared_experts", 0)} * s.intermediate;
  if (shared > 1u << 24) in.cannot_run("n_shared_experts * moe_intermediate_size is out of range");
  s.shared_intermediate = static_cast<std::uint32_t>(shared);
  s.groups = in.number("n_group", 1);
  s.top_groups = in.number("topk_group", 1);
  s.routed_scale = in.real("routed_scaling_factor", 1.0f);
  s.renormalise = in.flag("norm_topk_prob", true);
  s.router_bias = true;
  const std::string scoring = in.text("scoring_func", "sigmoid");
  s.score = scoring == "softmax" ? gpu::scoring::softmax : gpu::scoring::sigmoid;
  if (scoring != "softmax" && scoring != "sigmoid") {
    in.cannot_run("scoring_func '" + scoring + "' is neither sigmoid nor softmax: no kernel computes it");
  }
  if (const std::string method = in.text("topk_method", "noaux_tc"); method != "noaux_tc") {
    in.cannot_run("topk_method '" + method + "' is not noaux_tc: no kernel computes it");
  }
  const std::uint32_t layers = in.number("num_hidden_layers");
  const std::uint32_t first = in.number("first_k_dense_replace", 0);
  const std::uint32_t every = std::max(1u, in.number("moe_layer_freq", 1));
  for (std::uint32_t layer = first; layer < std::min(layers, 4097u); ++layer) {
    if (layer % every == 0) model.decoder_layers.push_back(layer);
  }
}

// Experts in f8 need to say how large their scale blocks are; every other kind of quantisation is unknown here.
void read_quantisation(config_reader& in, hf_model& model, const std::string& where) {
  const json* quantisation = in.find("quantization_config");
  if (quantisation == nullptr) return;
  if (!quantisation->is_object()) return in.cannot_run("'quantization_config' must be an object");
  config_reader inner(*quantisation, where);
  const std::string method = inner.text("quant_method", "");
  if (method != "fp8") {
    return in.cannot_run("quant_method '" + method + "' is not fp8: use the bf16 or the block-scaled fp8 checkpoint");
  }
  const json* block = inner.find("weight_block_size");
  const bool square = block != nullptr && block->is_array() && block->size() == 2 && (*block)[0] == (*block)[1] &&
                      (*block)[0].is_number_unsigned() && (*block)[0] > 0 && (*block)[0] <= 65536;
  if (!square) {
    return in.cannot_run(
        "fp8 without a square 'weight_block_size' such as [128, 128]: use the block-scaled checkpoint");
  }
  model.shape.scale_block = (*block)[0].get<std::uint32_t>();
}

}  // namespace

result<hf_model> read_hf_config(const std::string& text, const std::string& where, std::uint32_t max_layers) {
  const json config = json::parse(text, nullptr, false);
  if (!config.is_object()) {
    return fail(errc::malformed, where + ": not a JSON object: take config.json from the model's own repository");
  }
  const auto layout = layout_named(config);
  if (!layout) return fail(errc::invalid_argument, unknown_architecture(config, where));
  hf_model model;
  model.layout = *layout;
  config_reader in(config, where);
  model.shape.hidden = in.number("hidden_size");
  model.shape.norm_eps = in.real("rms_norm_eps", 1e-6f);
  switch (*layout) {
    case hf_layout::qwen3_moe:
      read_qwen3(in, model);
      break;
    case hf_layout::mixtral:
      read_mixtral(in, model);
      break;
    case hf_layout::deepseek_v3:
      read_deepseek(in, model);
      break;
  }
  if (const std::string act = in.text("hidden_act", "silu"); act != "silu") {
    in.cannot_run("hidden_act '" + act + "' is not silu: no kernel computes it");
  }
  read_quantisation(in, model, where);
  if (!in.verdict()) return fail(in.verdict().error());
  if (max_layers != 0 && max_layers < model.decoder_layers.size()) model.decoder_layers.resize(max_layers);
  model.shape.layers = static_cast<std::uint32_t>(model.decoder_layers.size());
  if (auto ok = gpu::check(model.shape); !ok) return fail(ok.error().code, where + ": " + ok.error().text);
  return model;
}

}  // namespace ballast
