#include "cli/checkpoint/hf_config_writer.hpp"

#include <nlohmann/json.hpp>

namespace ballast {
namespace {

using nlohmann::json;

const char* torch_name(gpu::dtype type) {
  return type == gpu::dtype::f32 ? "float32" : type == gpu::dtype::f16 ? "float16" : "bfloat16";
}

}  // namespace

std::uint32_t leading_dense_layers(hf_layout layout) noexcept { return layout == hf_layout::deepseek_v3 ? 1 : 0; }

status check_layout(hf_layout layout, const gpu::moe_shape& shape) {
  const auto refuse = [&](const std::string& what) {
    return fail(errc::invalid_argument, std::string("layout ") + to_string(layout) + ": " + what);
  };
  if (layout == hf_layout::deepseek_v3) {
    if (!shape.router_bias) return refuse("router_bias must be true");
    if (shape.shared_intermediate % shape.intermediate != 0) {
      return refuse("shared_intermediate must be a multiple of intermediate (" + std::to_string(shape.intermediate) +
                    ")");
    }
    return {};
  }
  if (shape.router_bias) return refuse("router_bias must be false");
  if (shape.shared_intermediate != 0) return refuse("shared_intermediate must be 0: the layout has no shared expert");
  if (shape.groups != 1) return refuse("groups must be 1");
  if (shape.score != gpu::scoring::softmax) return refuse("scoring must be softmax");
  if (shape.routed_scale != 1.0f) return refuse("routed_scale must be 1");
  if (layout == hf_layout::mixtral && !shape.renormalise) return refuse("renormalise must be true");
  return {};
}

std::string write_hf_config(hf_layout layout, const gpu::moe_shape& shape) {
  json config{{"architectures", {architecture_of(layout)}},
              {"model_type", to_string(layout)},
              {"hidden_act", "silu"},
              {"hidden_size", shape.hidden},
              {"num_hidden_layers", shape.layers + leading_dense_layers(layout)},
              {"num_experts_per_tok", shape.top_k},
              {"rms_norm_eps", shape.norm_eps},
              {"torch_dtype", torch_name(shape.expert_type)}};
  if (layout == hf_layout::qwen3_moe) {
    config.update({{"num_experts", shape.experts},
                   {"moe_intermediate_size", shape.intermediate},
                   {"norm_topk_prob", shape.renormalise},
                   {"decoder_sparse_step", 1},
                   {"mlp_only_layers", json::array()}});
  } else if (layout == hf_layout::mixtral) {
    config.update({{"num_local_experts", shape.experts}, {"intermediate_size", shape.intermediate}});
  } else {
    config.update({{"n_routed_experts", shape.experts},
                   {"moe_intermediate_size", shape.intermediate},
                   {"n_shared_experts", shape.shared_intermediate / shape.intermediate},
                   {"n_group", shape.groups},
                   {"topk_group", shape.top_groups},
                   {"routed_scaling_factor", shape.routed_scale},
                   {"norm_topk_prob", shape.renormalise},
                   {"scoring_func", shape.score == gpu::scoring::sigmoid ? "sigmoid" : "softmax"},
                   {"topk_method", "noaux_tc"},
                   {"moe_layer_freq", 1},
                   {"first_k_dense_replace", leading_dense_layers(layout)},
                   {"intermediate_size", shape.intermediate}});
  }
  if (shape.expert_type == gpu::dtype::f8_e4m3) {
    config["quantization_config"] = {{"quant_method", "fp8"},
                                     {"fmt", "e4m3"},
                                     {"activation_scheme", "dynamic"},
                                     {"weight_block_size", {shape.scale_block, shape.scale_block}}};
  }
  return config.dump(2) + "\n";
}

}  // namespace ballast
