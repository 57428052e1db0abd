// A model small enough for tests, and what one static rank answers with it.
#pragma once

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "agent/model/model_source.hpp"
#include "gpu/device.hpp"

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

// The backend that tests of whole deployments run on: the host's, unless BALLAST_TEST_BACKEND names another.
inline std::string test_backend() {
  const char* named = std::getenv("BALLAST_TEST_BACKEND");
  return named == nullptr ? "host" : named;
}

inline void must(const status& s) {
  if (!s) throw std::runtime_error(s.error().text);
}

// One static rank: the answer that every placement on every number of ranks must give, bit for bit.
class static_rank {
 public:
  explicit static_rank(const model_spec& spec) : model_(std::move(*open_model(spec))), shape_(model_->shape()) {
    backend_ = gpu::load_backend(test_backend()).value();
    gpu::device_options o;
    o.bind = "inproc://static-*";
    o.models = {shape_};
    o.limits.models = {{shape_.experts, 1}};
    device_ = backend_->make_device(o).value();
    must(device_->set_dense(0, model_->dense().value()));
    placement table{0, 1, {shape_.layers, layer_placement(shape_.experts)}};
    std::vector<std::byte> bundle(gpu::expert_layout(shape_).bytes);
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer)
      for (std::uint32_t e = 0; e < shape_.experts; ++e) {
        table.layers[layer][e] = {{seat_id{0}, e, 1.0}};
        must(model_->bundle(layer, e, bundle));
        const auto page = device_->pages(0).take().value();
        must(device_->pages(0).write(page, bundle));
        must(device_->pages(0).seal(page, {layer, e}, std::nullopt));
        device_->slots(0).set(layer, e, page, e);
      }
    routing_ = device_->make_routing(table).value();
    const auto half = device_->builder().open(1).value();
    comm_ = device_->builder().connect(1, seat_id{0}, {{seat_id{0}, half}}, std::chrono::seconds(10)).value();
  }
  // hidden after `steps` steps.
  std::vector<float> answer(std::vector<float> hidden, std::uint32_t tokens, std::uint32_t steps) {
    gpu::slot_counts counts;
    for (std::uint32_t s = 0; s < steps; ++s) {
      gpu::step_header mine;
      mine.step = ++step_;
      mine.tokens[0] = tokens;
      std::array<gpu::step_header, 1> seen;
      must(comm_->exchange_headers(mine, seen));
      must(device_->run_step(0, step_, hidden, *routing_, *comm_, counts));
    }
    return hidden;
  }

 private:
  std::unique_ptr<model_source> model_;
  gpu::moe_shape shape_;
  std::unique_ptr<gpu::backend> backend_;
  std::unique_ptr<gpu::device> device_;
  std::shared_ptr<const gpu::routing_table> routing_;
  std::unique_ptr<gpu::communicator> comm_;
  step_t step_ = 0;
};

}  // namespace ballast::test
