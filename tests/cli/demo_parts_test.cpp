// What the demo is made of: child processes, the comparison with one static rank, its report; and the load figures.
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/model/model_source.hpp"
#include "cli/checkpoint/checkpoint_writer.hpp"
#include "cli/demo/report.hpp"
#include "cli/local/answers.hpp"
#include "cli/local/process.hpp"
#include "cli/render/table.hpp"
#include "gpu/host/reference.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

TEST(latency_figures, interpolate_between_samples) {
  const auto f = figures_of({4, 1, 3, 2, 5});
  EXPECT_EQ(f.count, 5u);
  EXPECT_DOUBLE_EQ(f.mean, 3);
  EXPECT_DOUBLE_EQ(f.p50, 3);
  EXPECT_DOUBLE_EQ(f.p90, 4.6);
  EXPECT_DOUBLE_EQ(f.max, 5);
  EXPECT_EQ(figures_of({}).p99, 0);
  EXPECT_EQ(figures_of({7}).p99, 7);
}

TEST(table, aligns_words_left_and_numbers_right) {
  table t({"seat", "state", "step"});
  t.row({"0", "active", "9"});
  t.row({"12", "idle", "1000"});
  EXPECT_EQ(t.text(), "seat  state   step\n   0  active     9\n  12  idle    1000\n");
}

std::string log_file() {
  return (std::filesystem::temp_directory_path() / ("ballast-log-" + std::to_string(::getpid()))).string();
}

TEST(child_process, tells_when_it_has_ended) {
  auto child = child_process::start("/bin/true", {}, log_file());
  ASSERT_TRUE(child.has_value()) << child.error().text;
  EXPECT_TRUE(child->wait(20s));
  EXPECT_FALSE(child->running());
  std::filesystem::remove(log_file());
}

TEST(child_process, ends_when_asked_and_when_killed) {
  for (const bool kill : {false, true}) {
    auto child = child_process::start("/bin/cat", {"/dev/zero"}, "/dev/null");
    ASSERT_TRUE(child.has_value()) << child.error().text;
    EXPECT_TRUE(child->running());
    EXPECT_FALSE(child->wait(0ms));
    if (kill)
      child->kill();
    else
      child->signal(SIGTERM);
    EXPECT_TRUE(child->wait(20s));
  }
}

TEST(child_process, dies_with_its_owner) {
  pid_t pid = 0;
  {
    auto child = child_process::start("/bin/cat", {"/dev/zero"}, "/dev/null");
    ASSERT_TRUE(child.has_value());
    pid = child->pid();
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(child_process, a_missing_program_is_an_error) {
  const auto child = child_process::start("/nowhere/ballast-agent", {}, "/dev/null");
  ASSERT_FALSE(child.has_value());
  EXPECT_NE(child.error().text.find("/nowhere/ballast-agent"), std::string::npos);
}

class answers_test : public ::testing::Test {
 protected:
  void SetUp() override {
    shape.layers = 2;
    shape.experts = 8;
    shape.top_k = 2;
    shape.hidden = 16;
    shape.intermediate = 8;
    ASSERT_TRUE(write_checkpoint(folder, hf_layout::qwen3_moe, shape, 3).has_value());
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  static inference_request request(std::uint64_t number) {
    inference_request r;
    r.id = std::to_string(number);
    r.tokens = 2;
    r.steps = 3;
    for (std::uint64_t i = 0; i < 32; ++i)
      r.hidden.push_back(static_cast<float>((number * 37 + i * 11) % 19) * 0.125f - 1.0f);
    return r;
  }

  // Each request alone: the comparison computes them in batches.
  model_spec spec() const {
    model_spec s;
    s.name = "m";
    s.checkpoint = folder;
    return s;
  }

  kept_answer answer(std::uint64_t number) const {
    const auto source = open_model(spec()).value();
    const auto dense = source->dense().value();
    std::vector<std::byte> bundle(gpu::expert_layout(source->shape()).bytes);
    const gpu::host::bundle_reader fetch = [&](std::uint32_t layer,
                                               std::uint32_t expert) -> result<std::span<const std::byte>> {
      if (auto read = source->bundle(layer, expert, bundle); !read) return fail(read.error());
      return std::span<const std::byte>(bundle);
    };
    auto r = request(number);
    kept_answer kept{number, {}, {}};
    for (std::uint32_t step = 0; step < r.steps; ++step) {
      EXPECT_TRUE(gpu::host::reference_forward(source->shape(), dense, fetch, r.hidden, r.tokens).has_value());
      kept.digests.push_back(digest_of(r.hidden));
    }
    kept.last = r.hidden;
    return kept;
  }

  gpu::moe_shape shape;
  std::string folder =
      (std::filesystem::temp_directory_path() / ("ballast-answers-" + std::to_string(::getpid()))).string();
};

TEST_F(answers_test, equal_answers_compare_equal_whatever_the_batch) {
  std::vector<kept_answer> all;
  for (std::uint64_t i = 0; i < 40; ++i) all.push_back(answer(i));
  const auto c = compare_answers(spec(), request, all, 2);
  ASSERT_TRUE(c.has_value()) << c.error().text;
  EXPECT_EQ(c->compared, 40u);
  EXPECT_EQ(c->different, 0u) << c->first_difference;
}

TEST_F(answers_test, one_flipped_bit_is_found) {
  std::vector<kept_answer> all{answer(0), answer(1), answer(2)};
  all[1].last[5] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(all[1].last[5]) ^ 1u);
  all[2].digests[1] ^= 1;
  const auto c = compare_answers(spec(), request, all, 2);
  ASSERT_TRUE(c.has_value()) << c.error().text;
  EXPECT_EQ(c->different, 2u);
  EXPECT_FALSE(c->first_difference.empty());
}

TEST_F(answers_test, an_answer_that_is_too_short_differs) {
  std::vector<kept_answer> all{answer(0)};
  all[0].digests.pop_back();
  EXPECT_EQ(compare_answers(spec(), request, all, 1)->different, 1u);
}

demo_report good_report() {
  demo_report r;
  r.requests.sent = r.requests.answered = r.answers_compared = 10;
  r.operations = {{"scale", "0,1,2", "done", 1.5, figures_of({1, 2}), 3, 4096}};
  return r;
}

TEST(demo_report, json_has_exactly_the_promised_keys) {
  const auto d = nlohmann::json::parse(json_of(good_report()));
  const std::set<std::string> promised = {"requests_sent",     "requests_answered", "requests_failed",
                                          "answers_compared",  "answers_different", "imbalance_before",
                                          "imbalance_after",   "operations",        "quiet_step_p50_ms",
                                          "quiet_step_p99_ms", "bytes_moved"};
  std::set<std::string> found, found_in_operation;
  for (const auto& [key, value] : d.items()) found.insert(key);
  EXPECT_EQ(found, promised);
  for (const auto& [key, value] : d["operations"][0].items()) found_in_operation.insert(key);
  EXPECT_EQ(found_in_operation,
            (std::set<std::string>{"kind", "target", "outcome", "seconds", "step_p50_ms", "step_p99_ms"}));
}

TEST(demo_report, only_a_whole_success_is_one) {
  EXPECT_TRUE(verdict_of(good_report()).has_value());
  auto r = good_report();
  r.requests.answered = 9;
  EXPECT_FALSE(verdict_of(r).has_value());
  r = good_report();
  r.answers_compared = 9;
  EXPECT_FALSE(verdict_of(r).has_value());
  r = good_report();
  r.answers_different = 1;
  EXPECT_FALSE(verdict_of(r).has_value());
  r = good_report();
  r.operations[0].outcome = "aborted";
  EXPECT_FALSE(verdict_of(r).has_value());
}

}  // namespace
}  // namespace ballast
