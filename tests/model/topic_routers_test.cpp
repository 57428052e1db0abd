// Do the routers of a written checkpoint, on generated requests, load the experts as the recording says?
#include "cli/checkpoint/topic_routers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "gpu/host/layer.hpp"
#include "gpu/host/reference.hpp"
#include "policies/formats/load_records.hpp"
#include "tests/model/checkpoint_fixture_impl.hpp"
#include "tests/support/paths.hpp"

namespace ballast {
namespace {

const std::string data = test_data();
constexpr std::uint32_t tokens_per_request = 16;

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  double mean_a = 0, mean_b = 0, ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    mean_a += a[i] / n;
    mean_b += b[i] / n;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

double peak_to_mean(const std::vector<double>& loads) {
  double sum = 0;
  for (const double load : loads) sum += load;
  return *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) / sum;
}

// A checkpoint with topics, opened, and its routers.
class followed {
 public:
  followed(hf_layout layout, const gpu::moe_shape& shape, const std::string& recording) {
    const auto written = write_checkpoint(folder_.path(), layout, shape, 7, topic_source{recording, 32});
    EXPECT_TRUE(written) << written.error().text;
    auto opened = test::open_folder(folder_.path());
    EXPECT_TRUE(opened) << opened.error().text;
    model = std::move(*opened);
    dense = *model->dense();
    math.emplace(model->shape());
    auto traffic = load_topics(folder_.path());
    EXPECT_TRUE(traffic) << traffic.error().text;
    inputs.emplace(std::move(*traffic));
  }

  std::vector<gpu::host::choice> choices(const std::vector<float>& hidden, std::uint32_t layer) {
    const auto tokens = static_cast<std::uint32_t>(hidden.size() / model->shape().hidden);
    std::vector<float> normed(hidden.size());
    std::vector<gpu::host::choice> chosen(std::size_t{tokens} * model->shape().top_k);
    const std::byte* weights = dense.data() + layer * math->dense_bytes();
    math->norm(weights, hidden.data(), tokens, normed.data());
    math->route(weights, normed.data(), tokens, chosen.data(), work_);
    return chosen;
  }

  load_matrix realised(double position, std::uint64_t first_request, std::uint32_t requests) {
    load_matrix loads(model->shape().layers, std::vector<double>(model->shape().experts, 0.0));
    for (std::uint64_t request = first_request; request < first_request + requests; ++request) {
      const auto hidden = inputs->hidden(1, request, inputs->topic_of(position, request), tokens_per_request);
      for (std::uint32_t layer = 0; layer < loads.size(); ++layer) {
        for (const auto& choice : choices(hidden, layer)) loads[layer][choice.expert] += 1;
      }
    }
    return loads;
  }

  std::unique_ptr<model_source> model;
  std::vector<std::byte> dense;
  std::optional<gpu::host::layer_math> math;
  std::optional<topic_inputs> inputs;

 private:
  test::temporary_folder folder_;
  gpu::host::layer_math::workspace work_;
};

void expect_follows(followed& model, const std::string& recording_path, std::uint32_t requests) {
  const auto recording = policies::read_load_records(recording_path, {.max_layers = model.model->shape().layers});
  ASSERT_TRUE(recording) << recording.error().text;
  const std::size_t interval = recording->meta.steps_per_interval, steps = recording->records.size();
  double correlations = 0, peaks = 0;
  int compared = 0;
  for (std::size_t first = 0; first + interval <= steps; first += 3 * interval) {
    const double middle = static_cast<double>(first) + static_cast<double>(interval - 1) / 2;
    const auto got = model.realised(middle / static_cast<double>(steps - 1), first * 1000, requests);
    for (std::uint32_t layer = 0; layer < got.size(); ++layer) {
      std::vector<double> wanted(got[layer].size(), 0.0);
      for (std::size_t i = first; i < first + interval; ++i) {
        for (std::size_t e = 0; e < wanted.size(); ++e) wanted[e] += recording->records[i].tokens[layer][e];
      }
      const double close = correlation(got[layer], wanted);
      EXPECT_GT(close, 0.8) << "step " << first << " layer " << layer;
      correlations += close;
      peaks += peak_to_mean(got[layer]) / peak_to_mean(wanted);
      ++compared;
    }
  }
  EXPECT_GT(correlations / compared, 0.95);
  EXPECT_NEAR(peaks / compared, 1.0, 0.15);
}

gpu::moe_shape demo_shape() {
  gpu::moe_shape shape;
  shape.layers = 8;
  shape.experts = 128;
  shape.top_k = 8;
  shape.hidden = 128;
  shape.intermediate = 32;
  return shape;
}

TEST(topic_routers, loads_follow_the_recording_in_a_qwen3_checkpoint) {
  const std::string recording = data + "qwen30-drift-s1-8l.jsonl.gz";
  followed model(hf_layout::qwen3_moe, demo_shape(), recording);
  expect_follows(model, recording, 64);
}

TEST(topic_routers, loads_follow_the_recording_through_group_limited_sigmoid_routing) {
  auto shape = demo_shape();
  shape.layers = 4;
  shape.experts = 256;
  shape.groups = 8;
  shape.top_groups = 4;
  shape.score = gpu::scoring::sigmoid;
  shape.router_bias = true;
  shape.shared_intermediate = 32;
  const std::string recording = data + "dsv3-shift-s1-4l.jsonl.gz";
  followed model(hf_layout::deepseek_v3, shape, recording);
  expect_follows(model, recording, 64);
}

TEST(topic_routers, a_token_keeps_its_experts_over_many_decode_steps) {
  const auto shape = demo_shape();
  followed model(hf_layout::qwen3_moe, shape, data + "qwen30-drift-s1-8l.jsonl.gz");
  constexpr std::uint32_t tokens = 16;
  auto hidden = model.inputs->hidden(1, 3, 5, tokens);
  std::vector<std::vector<gpu::host::choice>> before;
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) before.push_back(model.choices(hidden, layer));
  const auto start = hidden;
  std::vector<std::byte> bundle(gpu::expert_layout(shape).bytes);
  const auto fetch = [&](std::uint32_t layer, std::uint32_t expert) -> result<std::span<const std::byte>> {
    if (auto ok = model.model->bundle(layer, expert, bundle); !ok) return fail(ok.error());
    return std::span<const std::byte>(bundle);
  };
  for (int step = 0; step < 32; ++step) {
    ASSERT_TRUE(gpu::host::reference_forward(shape, model.dense, fetch, hidden, tokens));
  }
  EXPECT_NE(hidden, start);  // the experts do take part in the answer
  int kept = 0;
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const auto after = model.choices(hidden, layer);
    for (std::uint32_t token = 0; token < tokens; ++token) {
      std::set<std::uint32_t> old;
      for (std::uint32_t k = 0; k < shape.top_k; ++k) old.insert(before[layer][token * shape.top_k + k].expert);
      for (std::uint32_t k = 0; k < shape.top_k; ++k) kept += old.contains(after[token * shape.top_k + k].expert);
    }
  }
  EXPECT_GT(kept, 0.85 * tokens * shape.layers * shape.top_k);
}

TEST(topic_routers, equal_seeds_give_equal_routers) {
  const topic_source source{data + "small-drift-s1.jsonl.gz", 32};
  gpu::moe_shape shape = test::small_shape(hf_layout::qwen3_moe, gpu::dtype::bf16);
  shape.experts = 16;
  shape.hidden = 64;
  const auto one = make_topic_routers(source, shape, 1), same = make_topic_routers(source, shape, 1);
  const auto other = make_topic_routers(source, shape, 2);
  ASSERT_TRUE(one && same && other);
  EXPECT_EQ(one->traffic.topics, 22u);
  EXPECT_EQ(one->rows, same->rows);
  EXPECT_EQ(one->traffic, same->traffic);
  EXPECT_NE(one->rows, other->rows);
}

TEST(topic_routers, refuse_a_recording_that_does_not_cover_the_model) {
  const std::string small = data + "small-drift-s1.jsonl.gz";  // 4 layers of 16 experts
  gpu::moe_shape shape = test::small_shape(hf_layout::qwen3_moe, gpu::dtype::bf16);
  shape.experts = 16;
  shape.hidden = 64;
  EXPECT_EQ(make_topic_routers({small, 0}, shape, 1).error().code, errc::does_not_fit);
  EXPECT_EQ(make_topic_routers({data + "none.jsonl.gz", 8}, shape, 1).error().code, errc::io);
  shape.layers = 5;
  EXPECT_EQ(make_topic_routers({small, 8}, shape, 1).error().code, errc::does_not_fit);
  shape.layers = 4;
  shape.experts = 8;
  EXPECT_EQ(make_topic_routers({small, 8}, shape, 1).error().code, errc::does_not_fit);
  shape.experts = 16;
  shape.hidden = 16;
  EXPECT_EQ(make_topic_routers({small, 22}, shape, 1).error().code, errc::does_not_fit);
}

}  // namespace
}  // namespace ballast
