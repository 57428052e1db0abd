#include "cli/local/answers.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>
#include <thread>

#include "gpu/host/reference.hpp"

namespace ballast {
namespace {

constexpr std::size_t batch_requests = 16;  // computed together; the bits do not depend on it

// The whole model in memory, read once.
struct static_rank {
  gpu::moe_shape shape;
  std::vector<std::byte> dense;
  std::size_t bundle_bytes = 0;
  std::vector<std::byte> bundles;

  std::span<std::byte> bundle(std::uint32_t layer, std::uint32_t expert) {
    return std::span(bundles).subspan((std::size_t{layer} * shape.experts + expert) * bundle_bytes, bundle_bytes);
  }

  static result<static_rank> load(const model_spec& spec) {
    auto source = open_model(spec);
    if (!source) return fail(source.error());
    static_rank rank;
    rank.shape = (*source)->shape();
    auto dense = (*source)->dense();
    if (!dense) return fail(dense.error());
    rank.dense = std::move(*dense);
    rank.bundle_bytes = gpu::expert_layout(rank.shape).bytes;
    rank.bundles.resize(rank.bundle_bytes * rank.shape.layers * rank.shape.experts);
    for (std::uint32_t layer = 0; layer < rank.shape.layers; ++layer) {
      for (std::uint32_t expert = 0; expert < rank.shape.experts; ++expert) {
        if (auto read = (*source)->bundle(layer, expert, rank.bundle(layer, expert)); !read) return fail(read.error());
      }
    }
    return rank;
  }
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// Requests of one batch, decoded side by side; they have the same number of tokens and steps.
class batch {
 public:
  batch(static_rank& rank, const request_maker& make, std::span<const kept_answer> answers)
      : rank_(rank), answers_(answers), equal_(answers.size(), true) {
    for (const auto& answer : answers) {
      const auto request = make(answer.number);
      tokens_ = request.tokens;
      steps_ = request.steps;
      hidden_.insert(hidden_.end(), request.hidden.begin(), request.hidden.end());
    }
  }

  status compare(comparison& into) {
    const gpu::host::bundle_reader fetch = [this](std::uint32_t layer, std::uint32_t expert) {
      return result<std::span<const std::byte>>(rank_.bundle(layer, expert));
    };
    const auto rows = static_cast<std::uint32_t>(answers_.size()) * tokens_;
    for (std::uint32_t step = 0; step < steps_; ++step) {
      if (auto done = gpu::host::reference_forward(rank_.shape, rank_.dense, fetch, hidden_, rows); !done) return done;
      for (std::size_t i = 0; i < answers_.size(); ++i) compare_step(i, step, into);
    }
    for (std::size_t i = 0; i < answers_.size(); ++i) {
      ++into.compared;
      into.different += equal_[i] ? 0 : 1;
    }
    return {};
  }

 private:
  void compare_step(std::size_t i, std::uint32_t step, comparison& into) {
    const auto& answer = answers_[i];
    const auto size = std::size_t{tokens_} * rank_.shape.hidden;
    const auto expected = std::span<const float>(hidden_).subspan(i * size, size);
    const std::vector<float> copy(expected.begin(), expected.end());
    const bool same = answer.digests.size() == steps_ && answer.digests[step] == digest_of(copy) &&
                      (step + 1 < steps_ || same_bits(answer.last, expected));
    if (same || !equal_[i]) return;
    equal_[i] = false;
    if (into.first_difference.empty()) {
      into.first_difference = fmt::format("request {} differs from step {} on", answer.number, step);
    }
  }

  static_rank& rank_;
  std::span<const kept_answer> answers_;
  std::vector<bool> equal_;
  std::vector<float> hidden_;
  std::uint32_t tokens_ = 0, steps_ = 0;
};

}  // namespace

result<comparison> compare_answers(const model_spec& model, const request_maker& make,
                                   const std::vector<kept_answer>& answers, std::uint32_t threads) {
  auto rank = static_rank::load(model);
  if (!rank) return fail(rank.error());
  std::atomic<std::size_t> next{0};
  std::vector<comparison> parts(threads);
  std::vector<status> outcomes(threads);
  const auto work = [&](std::uint32_t thread) {
    for (;;) {
      const auto first = next.fetch_add(batch_requests);
      if (first >= answers.size() || !outcomes[thread]) return;
      const auto count = std::min(batch_requests, answers.size() - first);
      outcomes[thread] = batch(*rank, make, std::span(answers).subspan(first, count)).compare(parts[thread]);
    }
  };
  std::vector<std::thread> running;
  for (std::uint32_t t = 0; t < threads; ++t) running.emplace_back(work, t);
  for (auto& one : running) one.join();
  comparison all;
  for (std::uint32_t t = 0; t < threads; ++t) {
    if (!outcomes[t]) return fail(outcomes[t].error());
    all.compared += parts[t].compared;
    all.different += parts[t].different;
    if (all.first_difference.empty()) all.first_difference = parts[t].first_difference;
  }
  return all;
}

}  // namespace ballast
