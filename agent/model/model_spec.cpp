#include "agent/model/model_source.hpp"
#include "messages/settings.hpp"

namespace ballast {
namespace {

constexpr const char* shape_keys[] = {
    "layers",   "experts",    "top_k",       "hidden",      "intermediate", "shared_intermediate",
    "groups",   "top_groups", "scoring",     "renormalise", "router_bias",  "routed_scale",
    "norm_eps", "dtype",      "scale_block", "seed"};

std::uint32_t number(const settings& table, const char* key, std::uint32_t otherwise, std::uint32_t most) {
  return static_cast<std::uint32_t>(table.get(key, std::uint64_t{otherwise}, 0, most));
}

status read_dtype(const settings& table, gpu::dtype& out) {
  const std::string name = table.get("dtype", "bf16");
  if (name == "f32")
    out = gpu::dtype::f32;
  else if (name == "bf16")
    out = gpu::dtype::bf16;
  else if (name == "f16")
    out = gpu::dtype::f16;
  else if (name == "f8_e4m3")
    out = gpu::dtype::f8_e4m3;
  else {
    return fail(errc::invalid_argument,
                table.where() + ": dtype = \"" + name + "\" is none of \"f32\", \"bf16\", \"f16\", \"f8_e4m3\"");
  }
  return {};
}

status read_scoring(const settings& table, gpu::scoring& out) {
  const std::string name = table.get("scoring", "softmax");
  if (name != "softmax" && name != "sigmoid") {
    return fail(errc::invalid_argument,
                table.where() + ": scoring = \"" + name + "\" is none of \"softmax\", \"sigmoid\"");
  }
  out = name == "sigmoid" ? gpu::scoring::sigmoid : gpu::scoring::softmax;
  return {};
}

status read_shape(const settings& table, gpu::moe_shape& shape) {
  shape.layers = number(table, "layers", 0, 1024);
  shape.experts = number(table, "experts", 0, 65536);
  shape.top_k = number(table, "top_k", 0, 256);
  shape.hidden = number(table, "hidden", 0, 65536);
  shape.intermediate = number(table, "intermediate", 0, 65536);
  shape.shared_intermediate = number(table, "shared_intermediate", 0, 65536);
  shape.groups = number(table, "groups", 1, 65536);
  shape.top_groups = number(table, "top_groups", 1, 65536);
  shape.renormalise = table.get("renormalise", true);
  shape.router_bias = table.get("router_bias", false);
  shape.routed_scale = static_cast<float>(table.get("routed_scale", 1.0, 1e-3, 1e3));
  shape.norm_eps = static_cast<float>(table.get("norm_eps", 1e-6, 0.0, 1.0));
  shape.scale_block = number(table, "scale_block", 128, 65536);
  if (auto ok = read_dtype(table, shape.expert_type); !ok) return ok;
  return read_scoring(table, shape.score);
}

status refuse_shape_keys(const settings& table) {
  for (const char* key : shape_keys) {
    if (!table.has(key)) continue;
    return fail(errc::invalid_argument,
                table.where() + ": '" + key +
                    "' does not go with 'checkpoint': the checkpoint's config.json has it; remove '" + key +
                    "' or 'checkpoint'");
  }
  return {};
}

}  // namespace

result<model_spec> read_model_spec(const settings& table) {
  model_spec spec;
  spec.name = table.get("name", "");
  spec.checkpoint = table.get("checkpoint", "");
  spec.max_layers = number(table, "max_layers", 0, 1024);
  status shape_ok;
  if (spec.checkpoint.empty()) {
    spec.seed = table.get("seed", std::uint64_t{0}, 0, std::uint64_t{INT64_MAX});
    shape_ok = read_shape(table, spec.shape);
  } else {
    shape_ok = refuse_shape_keys(table);
  }
  if (!shape_ok) return fail(shape_ok.error());
  if (auto ok = table.finish(); !ok) return fail(ok.error());
  if (spec.name.empty()) {
    return fail(errc::invalid_argument, table.where() + ": a model needs a name: add name = \"...\"");
  }
  if (spec.checkpoint.empty()) {
    if (auto ok = gpu::check(spec.shape); !ok) {
      return fail(ok.error().code, table.where() + ": model '" + spec.name + "': " + ok.error().text);
    }
  }
  return spec;
}

}  // namespace ballast
