// A model small enough for tests, and what one static rank answers with it.
#pragma once

#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "agent/model/model_source.hpp"
#include "gpu/host/reference.hpp"

namespace ballast::test {

inline model_spec tiny_spec(const std::string& name = "tiny", std::uint64_t seed = 7) {
  model_spec spec;
  spec.name = name;
  spec.seed = seed;
  spec.shape.layers = 3;
  spec.shape.experts = 8;
  spec.shape.top_k = 2;
  spec.shape.hidden = 32;
  spec.shape.intermediate = 16;
  return spec;
}

inline std::vector<float> random_hidden(std::uint32_t values, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(values);
  for (auto& v : out) v = normal(random);
  return out;
}

// One static rank: the answer that every placement on every number of ranks must give, bit for bit.
class static_rank {
 public:
  explicit static_rank(const model_spec& spec) : model_(std::move(*open_model(spec))), dense_(*model_->dense()) {
    bundle_.resize(gpu::expert_layout(model_->shape()).bytes);
  }
  // hidden after `steps` steps.
  std::vector<float> answer(std::vector<float> hidden, std::uint32_t tokens, std::uint32_t steps) {
    for (std::uint32_t s = 0; s < steps; ++s) {
      const auto done = gpu::host::reference_forward(
          model_->shape(), dense_,
          [this](std::uint32_t layer, std::uint32_t expert) -> result<std::span<const std::byte>> {
            if (auto read = model_->bundle(layer, expert, bundle_); !read) return fail(read.error());
            return std::span<const std::byte>(bundle_);
          },
          hidden, tokens);
      if (!done) throw std::runtime_error(done.error().text);
    }
    return hidden;
  }

 private:
  std::unique_ptr<model_source> model_;
  std::vector<std::byte> dense_, bundle_;
};

}  // namespace ballast::test
