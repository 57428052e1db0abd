#include "agent/model/hf_layout.hpp"

namespace ballast {
namespace {

constexpr const char* scale_suffix = "_scale";

std::string decoder(std::uint32_t layer) { return "model.layers." + std::to_string(layer) + "."; }

std::string projection(hf_layout layout, const std::string& part) {
  if (layout != hf_layout::mixtral) return part + "_proj";
  return part == "gate" ? "w1" : part == "up" ? "w3" : "w2";
}

}  // namespace

const char* to_string(hf_layout layout) noexcept {
  switch (layout) {
    case hf_layout::qwen3_moe:
      return "qwen3_moe";
    case hf_layout::mixtral:
      return "mixtral";
    case hf_layout::deepseek_v3:
      return "deepseek_v3";
  }
  return "?";
}

const char* architecture_of(hf_layout layout) noexcept {
  switch (layout) {
    case hf_layout::qwen3_moe:
      return "Qwen3MoeForCausalLM";
    case hf_layout::mixtral:
      return "MixtralForCausalLM";
    case hf_layout::deepseek_v3:
      return "DeepseekV3ForCausalLM";
  }
  return "?";
}

std::string expert_tensor(hf_layout layout, std::uint32_t decoder_layer, std::uint32_t expert,
                          const std::string& slot) {
  std::string part = slot;
  std::string ending = ".weight";
  if (slot.ends_with(scale_suffix)) {
    part.resize(slot.size() - std::string(scale_suffix).size());
    ending = ".weight_scale_inv";
  }
  const char* block = layout == hf_layout::mixtral ? "block_sparse_moe." : "mlp.";
  return decoder(decoder_layer) + block + "experts." + std::to_string(expert) + "." + projection(layout, part) + ending;
}

std::string dense_tensor(hf_layout layout, std::uint32_t decoder_layer, const std::string& slot) {
  const std::string prefix = decoder(decoder_layer);
  if (slot == "norm") return prefix + "post_attention_layernorm.weight";
  if (slot == "router")
    return prefix + (layout == hf_layout::mixtral ? "block_sparse_moe.gate.weight" : "mlp.gate.weight");
  if (slot == "router_bias") return prefix + "mlp.gate.e_score_correction_bias";
  const std::string part = slot.substr(slot.find('_') + 1);  // shared_gate -> gate
  return prefix + "mlp.shared_experts." + projection(layout, part) + ".weight";
}

}  // namespace ballast
