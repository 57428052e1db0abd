#include "cli/checkpoint/checkpoint_writer.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>

#include "agent/model/number_formats.hpp"
#include "agent/model/random_weights.hpp"
#include "agent/model/seeded_model.hpp"
#include "cli/checkpoint/hf_config_writer.hpp"
#include "cli/checkpoint/safetensors_writer.hpp"

namespace ballast {
namespace {

// What a layer adds to a token when topics must outlast many decode steps: the same experts add the same vector each
// step.
constexpr float topic_expert_gain = 0.002f;
constexpr std::uint32_t most_makers = 32;      // threads, each with the weights of an expert
constexpr std::uint32_t leading_stream = 104;  // part of what a seed means

const char* file_dtype(gpu::dtype type) {
  constexpr const char* names[] = {"F32", "BF16", "F16", "F8_E4M3"};
  return names[static_cast<std::size_t>(type)];
}

// Everything the tensors' fill functions share; they run one after the other, expert by expert.
struct content {
  hf_layout layout{};
  gpu::moe_shape shape;
  gpu::tensor_layout expert, dense;
  std::unique_ptr<model_source> weights;
  std::vector<std::byte> dense_bytes;
  std::vector<std::vector<std::byte>> bundles;  // of so many experts from this one on
  std::uint32_t bundles_layer = ~0u, first_bundle = 0;

  std::span<const float> dense_values(std::uint32_t layer, const gpu::tensor_slot& slot) const {
    const std::byte* at = dense_bytes.data() + layer * dense.bytes + slot.offset;
    return {reinterpret_cast<const float*>(at), slot.bytes / sizeof(float)};
  }

  result<std::span<const std::byte>> bundle(std::uint32_t layer, std::uint32_t number) {
    if (layer != bundles_layer || number < first_bundle || number - first_bundle >= bundles.size())
      if (auto ok = make_bundles(layer, number); !ok) return fail(ok.error());
    return bundles[number - first_bundle];
  }

  // Of this expert and the ones after it: drawing numbers is what takes time.
  status make_bundles(std::uint32_t layer, std::uint32_t first) {
    bundles.resize(std::min(std::clamp(std::thread::hardware_concurrency(), 1u, most_makers), shape.experts - first));
    std::vector<status> outcomes(bundles.size());
    {
      std::vector<std::jthread> makers;
      for (std::uint32_t i = 0; i < bundles.size(); ++i)
        makers.emplace_back([this, layer, first, i, &outcomes] {
          bundles[i].resize(expert.bytes);
          outcomes[i] = weights->bundle(layer, first + i, bundles[i]);
        });
    }
    bundles_layer = layer;
    first_bundle = first;
    for (auto& outcome : outcomes)
      if (!outcome) return outcome;
    return {};
  }
};
using shared_content = std::shared_ptr<content>;

planned_tensor plan_tensor(std::string name, gpu::dtype type, std::vector<std::uint64_t> extents) {
  planned_tensor made{std::move(name), file_dtype(type), std::move(extents), size_of(type), {}};
  for (const std::uint64_t extent : made.shape) made.bytes *= extent;
  return made;
}

// A shared expert's tensor in f8, and its scales.
void plan_quantised(const shared_content& of, std::uint32_t layer, const gpu::tensor_slot& slot,
                    const std::string& name, std::vector<planned_tensor>& out) {
  const std::size_t block = of->shape.scale_block;
  auto weight = plan_tensor(name, gpu::dtype::f8_e4m3, {slot.rows, slot.cols});
  auto scale = plan_tensor(name + "_scale_inv", gpu::dtype::f32, {blocks(slot.rows, block), blocks(slot.cols, block)});
  const auto make = [of, layer, slot, block](std::vector<std::byte>& stored, std::vector<float>& scales) {
    stored.resize(std::size_t{slot.rows} * slot.cols);
    scales.resize(blocks(slot.rows, block) * blocks(slot.cols, block));
    quantise(of->dense_values(layer, slot), slot.rows, slot.cols, block, stored, scales);
  };
  weight.fill = [make](std::span<std::byte> bytes) -> status {
    std::vector<std::byte> stored;
    std::vector<float> scales;
    make(stored, scales);
    std::memcpy(bytes.data(), stored.data(), bytes.size());
    return {};
  };
  scale.fill = [make](std::span<std::byte> bytes) -> status {
    std::vector<std::byte> stored;
    std::vector<float> scales;
    make(stored, scales);
    std::memcpy(bytes.data(), scales.data(), bytes.size());
    return {};
  };
  out.push_back(std::move(weight));
  out.push_back(std::move(scale));
}

void plan_dense(const shared_content& of, std::uint32_t layer, std::uint32_t decoder_layer,
                std::vector<planned_tensor>& out) {
  for (const gpu::tensor_slot& slot : of->dense.tensors) {
    const std::string name = dense_tensor(of->layout, decoder_layer, slot.name);
    if (slot.name.starts_with("shared_") && of->shape.expert_type == gpu::dtype::f8_e4m3) {
      plan_quantised(of, layer, slot, name, out);
      continue;
    }
    const gpu::dtype type = slot.name == "router_bias" ? gpu::dtype::f32 : dense_type(of->shape.expert_type);
    const bool vector = slot.name == "norm" || slot.name == "router_bias";
    auto extents = vector ? std::vector<std::uint64_t>{slot.cols} : std::vector<std::uint64_t>{slot.rows, slot.cols};
    auto tensor = plan_tensor(name, type, std::move(extents));
    tensor.fill = [of, layer, slot, type](std::span<std::byte> bytes) -> status {
      encode(of->dense_values(layer, slot), type, bytes);
      return {};
    };
    out.push_back(std::move(tensor));
  }
}

void plan_experts(const shared_content& of, std::uint32_t layer, std::uint32_t decoder_layer,
                  std::vector<planned_tensor>& out) {
  for (std::uint32_t number = 0; number < of->shape.experts; ++number) {
    for (const gpu::tensor_slot& slot : of->expert.tensors) {
      auto tensor =
          plan_tensor(expert_tensor(of->layout, decoder_layer, number, slot.name), slot.type, {slot.rows, slot.cols});
      tensor.fill = [of, layer, number, slot](std::span<std::byte> bytes) -> status {
        const auto bundle = of->bundle(layer, number);
        if (!bundle) return fail(bundle.error());
        std::memcpy(bytes.data(), bundle->data() + slot.offset, bytes.size());
        return {};
      };
      out.push_back(std::move(tensor));
    }
  }
}

// The dense decoder layer before the first MoE layer, which a loader must pass over.
void plan_leading(const shared_content& of, std::uint64_t seed, std::vector<planned_tensor>& out) {
  const gpu::dtype type = dense_type(of->shape.expert_type);
  const std::uint64_t width = of->shape.hidden, inner = of->shape.intermediate;
  const std::pair<const char*, std::vector<std::uint64_t>> parts[] = {{"post_attention_layernorm.weight", {width}},
                                                                      {"mlp.gate_proj.weight", {inner, width}},
                                                                      {"mlp.up_proj.weight", {inner, width}},
                                                                      {"mlp.down_proj.weight", {width, inner}}};
  for (std::uint32_t layer = 0; layer < leading_dense_layers(of->layout); ++layer) {
    for (std::uint32_t part = 0; part < std::size(parts); ++part) {
      auto tensor =
          plan_tensor("model.layers." + std::to_string(layer) + "." + parts[part].first, type, parts[part].second);
      tensor.fill = [seed, layer, part, type](std::span<std::byte> bytes) -> status {
        std::vector<float> values(bytes.size() / size_of(type));
        random_values(seed, {leading_stream, layer, part}).fill_normal(values, 0.02f);
        encode(values, type, bytes);
        return {};
      };
      out.push_back(std::move(tensor));
    }
  }
}

void follow_topics(content& into, const topic_routers& routers) {
  for (std::uint32_t layer = 0; layer < into.shape.layers; ++layer) {
    for (const gpu::tensor_slot& slot : into.dense.tensors) {
      auto* values = reinterpret_cast<float*>(into.dense_bytes.data() + layer * into.dense.bytes + slot.offset);
      if (slot.name == "norm") std::fill_n(values, slot.cols, 1.0f);
      if (slot.name == "router_bias") std::fill_n(values, slot.cols, 0.0f);
      if (slot.name == "router") std::copy(routers.rows[layer].begin(), routers.rows[layer].end(), values);
    }
  }
}

}  // namespace

status write_checkpoint(const std::string& folder, hf_layout layout, const gpu::moe_shape& shape, std::uint64_t seed,
                        const std::optional<topic_source>& topics, std::uint32_t shards) {
  if (auto ok = gpu::check(shape); !ok) return ok;
  if (auto ok = check_layout(layout, shape); !ok) return ok;
  const auto of = std::make_shared<content>();
  of->layout = layout;
  of->shape = shape;
  of->expert = gpu::expert_layout(shape);
  of->dense = gpu::dense_layout(shape);
  of->weights = make_seeded_model("seed", seed, shape, {topics ? topic_expert_gain : seeded_options{}.expert_gain});
  auto dense = of->weights->dense();
  if (!dense) return fail(dense.error());
  of->dense_bytes = std::move(*dense);
  topic_routers routers;
  if (topics) {
    auto made = make_topic_routers(*topics, shape, seed);
    if (!made) return fail(made.error());
    routers = std::move(*made);
    follow_topics(*of, routers);
  }
  std::vector<planned_tensor> tensors;
  plan_leading(of, seed, tensors);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const std::uint32_t decoder_layer = layer + leading_dense_layers(layout);
    plan_dense(of, layer, decoder_layer, tensors);
    plan_experts(of, layer, decoder_layer, tensors);
  }
  if (auto ok = write_safetensors(folder, tensors, shards); !ok) return ok;
  if (topics) {
    if (auto ok = save_topics(routers.traffic, folder); !ok) return ok;
  } else {
    std::error_code ignored;
    std::filesystem::remove(folder + "/topics.json", ignored);
  }
  return write_text_file(folder + "/config.json", write_hf_config(layout, shape));
}

}  // namespace ballast
