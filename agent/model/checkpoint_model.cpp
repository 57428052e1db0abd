#include "agent/model/checkpoint_model.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "agent/model/checkpoint_files.hpp"
#include "agent/model/fingerprint.hpp"
#include "agent/model/hf_layout.hpp"
#include "agent/model/number_formats.hpp"

namespace ballast {
namespace {

constexpr std::uint64_t config_limit = 16u << 20;
constexpr const char* scale_ending = "_scale_inv";

const char* format_name(gpu::dtype type) {
  constexpr const char* names[] = {"F32", "BF16", "F16", "F8_E4M3"};
  return names[static_cast<std::size_t>(type)];
}

struct dense_tensor_source {
  stored_tensor weight;
  std::optional<stored_tensor> scales;  // f8 only
};

struct layer_sources {
  std::vector<dense_tensor_source> dense;           // in order of dense_layout
  std::vector<std::vector<stored_tensor>> experts;  // [expert], in order of expert_layout
};

class checkpoint_model final : public model_source {
 public:
  checkpoint_model(std::string name, hf_model model) : name_(std::move(name)), model_(std::move(model)) {}

  // Finds every tensor. Called once, before the object is shared.
  status bind(checkpoint_files& files, std::uint64_t fingerprint_whole) {
    if (auto ok = settle_expert_type(files); !ok) return ok;
    expert_ = gpu::expert_layout(model_.shape);
    dense_ = gpu::dense_layout(model_.shape);
    layers_.resize(model_.shape.layers);
    for (std::uint32_t layer = 0; layer < model_.shape.layers; ++layer) {
      if (auto ok = bind_dense(files, layer); !ok) return ok;
      for (std::uint32_t expert = 0; expert < model_.shape.experts; ++expert) {
        if (auto ok = bind_expert(files, layer, expert); !ok) return ok;
      }
    }
    if (auto ok = refuse_unread(files); !ok) return ok;
    return make_fingerprint(fingerprint_whole);
  }

  const std::string& name() const noexcept override { return name_; }
  const gpu::moe_shape& shape() const noexcept override { return model_.shape; }
  const std::string& fingerprint() const noexcept override { return fingerprint_; }

  result<std::vector<std::byte>> dense() const override {
    std::vector<std::byte> all(dense_.bytes * layers_.size());
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      for (std::size_t i = 0; i < dense_.tensors.size(); ++i) {
        const gpu::tensor_slot& slot = dense_.tensors[i];
        const auto out = std::span(all).subspan(layer * dense_.bytes + slot.offset, slot.bytes);
        if (auto ok = read_dense(layers_[layer].dense[i], slot, out); !ok) return fail(ok.error());
      }
    }
    return all;
  }

  status bundle(std::uint32_t layer, std::uint32_t expert, std::span<std::byte> out) const override {
    if (auto ok = check_bundle_request(model_.shape, expert_, layer, expert, out.size()); !ok) return ok;
    std::vector<std::byte> unused;
    return pieces(layer, expert, unused, [out](std::size_t offset, std::span<const std::byte> piece) -> status {
      std::ranges::copy(piece, out.begin() + static_cast<std::ptrdiff_t>(offset));
      return {};
    });
  }

  // Tensors lie in the mapped file, as a bundle has them; between them it is padded with zeros.
  status pieces(std::uint32_t layer, std::uint32_t expert, std::vector<std::byte>&,
                const piece_taker& take) const override {
    if (auto ok = check_bundle_request(model_.shape, expert_, layer, expert, expert_.bytes); !ok) return ok;
    const auto& sources = layers_[layer].experts[expert];
    std::size_t done = 0;
    const auto pad_until = [&](std::size_t end) -> status {
      static constexpr std::array<std::byte, 256> zeros{};
      for (; done < end; done += std::min(zeros.size(), end - done))
        if (auto ok = take(done, std::span(zeros).first(std::min(zeros.size(), end - done))); !ok) return ok;
      return {};
    };
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const auto bytes = sources[i].bytes();
      if (!bytes) return fail(bytes.error());
      if (auto ok = pad_until(expert_.tensors[i].offset); !ok) return ok;
      if (auto ok = take(done, *bytes); !ok) return ok;
      done += bytes->size();
    }
    return pad_until(expert_.bytes);
  }

 private:
  // The first expert says the format of all.
  status settle_expert_type(checkpoint_files& files) {
    gpu::moe_shape& shape = model_.shape;
    const auto first = files.find(expert_tensor(model_.layout, model_.decoder_layers.front(), 0, "gate"),
                                  shape.intermediate, shape.hidden);
    if (!first) return fail(first.error());
    shape.expert_type = first->type;
    dense_block_ = shape.scale_block;
    if (shape.expert_type != gpu::dtype::f8_e4m3) shape.scale_block = gpu::moe_shape{}.scale_block;
    return {};
  }

  status bind_dense(checkpoint_files& files, std::uint32_t layer) {
    for (const gpu::tensor_slot& slot : dense_.tensors) {
      const std::string tensor = dense_tensor(model_.layout, model_.decoder_layers[layer], slot.name);
      auto weight = files.find(tensor, slot.rows, slot.cols);
      if (!weight) return fail(weight.error());
      dense_tensor_source source{*weight, std::nullopt};
      consumed_.insert(tensor);
      if (weight->type == gpu::dtype::f8_e4m3) {
        auto scales = files.find(tensor + scale_ending, static_cast<std::uint32_t>(blocks(slot.rows, dense_block_)),
                                 static_cast<std::uint32_t>(blocks(slot.cols, dense_block_)));
        if (!scales) return fail(scales.error());
        if (auto ok = require_type(*scales, tensor + scale_ending, gpu::dtype::f32); !ok) return ok;
        source.scales = *scales;
        consumed_.insert(tensor + scale_ending);
      }
      layers_[layer].dense.push_back(std::move(source));
    }
    return {};
  }

  status bind_expert(checkpoint_files& files, std::uint32_t layer, std::uint32_t expert) {
    std::vector<stored_tensor> tensors;
    for (const gpu::tensor_slot& slot : expert_.tensors) {
      const std::string tensor = expert_tensor(model_.layout, model_.decoder_layers[layer], expert, slot.name);
      auto found = files.find(tensor, slot.rows, slot.cols);
      if (!found) return fail(found.error());
      if (auto ok = require_type(*found, tensor, slot.type); !ok) return ok;
      consumed_.insert(tensor);
      tensors.push_back(std::move(*found));
    }
    layers_[layer].experts.push_back(std::move(tensors));
    return {};
  }

  static status require_type(const stored_tensor& tensor, const std::string& tensor_name, gpu::dtype type) {
    if (tensor.type == type) return {};
    return fail(errc::invalid_argument, tensor.file->path() + ": tensor " + tensor_name + " has dtype " +
                                            format_name(tensor.type) + ", not " + format_name(type) +
                                            " like the others: use a checkpoint whose experts share one dtype");
  }

  status refuse_unread(const checkpoint_files& files) {
    std::set<std::string> prefixes;
    for (const std::uint32_t layer : model_.decoder_layers) {
      const std::string router = dense_tensor(model_.layout, layer, "router");
      prefixes.insert(router.substr(0, router.rfind("gate.")));
    }
    for (const std::string& tensor : files.names()) {
      auto prefix = prefixes.upper_bound(tensor);
      if (prefix == prefixes.begin() || !tensor.starts_with(*--prefix) || consumed_.contains(tensor)) continue;
      return fail(errc::invalid_argument,
                  "tensor " + tensor + " is read by no kernel of this layout (" + architecture_of(model_.layout) +
                      "): use the checkpoint without it; leaving it out would change the answers");
    }
    consumed_.clear();
    return {};
  }

  status read_dense(const dense_tensor_source& source, const gpu::tensor_slot& slot, std::span<std::byte> out) const {
    const auto stored = source.weight.bytes();
    if (!stored) return fail(stored.error());
    std::vector<float> values(std::size_t{slot.rows} * slot.cols);
    if (!source.scales) {
      decode(*stored, source.weight.type, values);
    } else {
      const auto scale_bytes = source.scales->bytes();
      if (!scale_bytes) return fail(scale_bytes.error());
      std::vector<float> scales(scale_bytes->size() / sizeof(float));
      decode(*scale_bytes, gpu::dtype::f32, scales);
      dequantise(*stored, slot.rows, slot.cols, dense_block_, scales, values);
    }
    std::memcpy(out.data(), values.data(), out.size());
    return {};
  }

  status make_fingerprint(std::uint64_t fingerprint_whole) {
    std::uint64_t total = 0;
    visit([&](const stored_tensor& tensor) { total += tensor.entry->end - tensor.entry->begin; });
    const bool whole = total <= fingerprint_whole;
    fingerprint_builder made(model_.shape);
    status verdict;
    visit([&](const stored_tensor& tensor) {
      const auto bytes = tensor.bytes();
      if (!bytes) {
        verdict = fail(bytes.error());
      } else if (verdict) {
        add_tensor(made, tensor.type, *bytes, whole);
      }
    });
    if (verdict) fingerprint_ = made.finish(whole ? "whole" : "sampled");
    return verdict;
  }

  static void add_tensor(fingerprint_builder& made, gpu::dtype type, std::span<const std::byte> bytes, bool whole) {
    constexpr std::size_t sample = 256;
    made.add(&type, sizeof type);
    if (whole || bytes.size() <= 3 * sample) return made.add(bytes.data(), bytes.size());
    for (const std::size_t at : {std::size_t{0}, (bytes.size() - sample) / 2, bytes.size() - sample}) {
      made.add(bytes.data() + at, sample);
    }
  }

  template <class Visitor>
  void visit(Visitor visitor) const {
    for (const layer_sources& layer : layers_) {
      for (const dense_tensor_source& tensor : layer.dense) {
        visitor(tensor.weight);
        if (tensor.scales) visitor(*tensor.scales);
      }
      for (const auto& expert : layer.experts) {
        for (const stored_tensor& tensor : expert) visitor(tensor);
      }
    }
  }

  std::string name_;
  hf_model model_;
  gpu::tensor_layout expert_, dense_;
  std::size_t dense_block_ = 0;  // of dense tensors in f8
  std::vector<layer_sources> layers_;
  std::set<std::string> consumed_;  // while binding
  std::string fingerprint_;
};

}  // namespace

result<std::unique_ptr<model_source>> open_checkpoint_model(std::string name, const std::string& folder,
                                                            std::uint32_t max_layers, std::uint64_t fingerprint_whole) {
  const std::string path = folder + "/config.json";
  const auto text = read_text_file(path, config_limit);
  if (!text) {
    return fail(text.error().code,
                text.error().text + ": 'checkpoint' must name a folder with config.json and model-*.safetensors");
  }
  auto config = read_hf_config(*text, path, max_layers);
  if (!config) return fail(config.error());
  auto files = checkpoint_files::open(folder);
  if (!files) return fail(files.error());
  auto model = std::make_unique<checkpoint_model>(std::move(name), std::move(*config));
  if (auto ok = model->bind(*files, fingerprint_whole); !ok) return fail(ok.error());
  return model;
}

}  // namespace ballast
