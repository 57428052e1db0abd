#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cli/checkpoint/topic_model.hpp"
#include "cli/checkpoint/topic_routers.hpp"
#include "tests/model/checkpoint_fixture_impl.hpp"

namespace ballast {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

topic_traffic three_topics() {
  topic_traffic traffic;
  traffic.topics = 3;
  traffic.hidden = 64;
  traffic.seed = 9;
  traffic.recording = "by hand";
  traffic.mix = {{1, 0, 0}, {0.5, 0.5, 0}, {0, 0.25, 0.75}};
  return traffic;
}

TEST(topics, directions_are_orthonormal) {
  const auto directions = topic_directions(4, 22, 64);
  for (std::size_t a = 0; a < directions.size(); ++a) {
    for (std::size_t b = 0; b < directions.size(); ++b) {
      double product = 0;
      for (std::size_t i = 0; i < 64; ++i) product += directions[a][i] * directions[b][i];
      EXPECT_NEAR(product, a == b ? 1.0 : 0.0, 1e-9);
    }
  }
}

TEST(topics, what_clients_must_know_survives_the_file) {
  test::temporary_folder folder;
  ASSERT_TRUE(save_topics(three_topics(), folder.path()));
  const auto loaded = load_topics(folder.path());
  ASSERT_TRUE(loaded) << loaded.error().text;
  EXPECT_EQ(*loaded, three_topics());
}

TEST(topics, a_bad_file_is_refused) {
  test::temporary_folder folder;
  EXPECT_EQ(load_topics(folder.path()).error().code, errc::not_found);
  ASSERT_TRUE(save_topics(three_topics(), folder.path()));
  const std::string path = folder.file("topics.json");
  const std::string whole = test::read_bytes(path);
  const auto refused_after = [&](const std::function<void(nlohmann::json&)>& edit) {
    test::write_bytes(path, whole);
    test::edit_json(path, edit);
    const auto loaded = load_topics(folder.path());
    return !loaded && loaded.error().text.find(path) != std::string::npos;
  };
  EXPECT_TRUE(refused_after([](auto& o) { o["topics"] = 2; }));
  EXPECT_TRUE(refused_after([](auto& o) { o["topics"] = "three"; }));
  EXPECT_TRUE(refused_after([](auto& o) { o["hidden"] = 3; }));
  EXPECT_TRUE(refused_after([](auto& o) { o["signal"] = 1.5; }));
  EXPECT_TRUE(refused_after([](auto& o) { o["mix"] = nlohmann::json::array(); }));
  EXPECT_TRUE(refused_after([](auto& o) { o["mix"][1][0] = -0.5; }));
  EXPECT_TRUE(refused_after([](auto& o) { o["mix"][1][0] = 0.7; }));
  EXPECT_TRUE(refused_after([](auto& o) { o.erase("seed"); }));
  EXPECT_TRUE(refused_after([](auto& o) { o["version"] = 2; }));
  test::write_bytes(path, whole.substr(0, whole.size() / 2));
  EXPECT_EQ(load_topics(folder.path()).error().code, errc::malformed);
}

TEST(topics, mix_goes_over_from_step_to_step) {
  const auto near = [](double value) { return DoubleNear(value, 1e-12); };
  const auto traffic = three_topics();
  EXPECT_THAT(topic_mix(traffic, 0), ElementsAre(near(1), near(0), near(0)));
  EXPECT_THAT(topic_mix(traffic, 0.25), ElementsAre(near(0.75), near(0.25), near(0)));
  EXPECT_THAT(topic_mix(traffic, 1), ElementsAre(near(0), near(0.25), near(0.75)));
  EXPECT_THAT(topic_mix(traffic, 7), ElementsAre(near(0), near(0.25), near(0.75)));
}

TEST(topics, requests_are_divided_as_the_mix_says_even_over_short_runs) {
  const topic_inputs inputs(three_topics());
  for (const std::uint64_t first : {0u, 1'000'003u}) {
    std::vector<int> seen(3);
    for (std::uint64_t request = first; request < first + 40; ++request) ++seen[inputs.topic_of(1, request)];
    EXPECT_EQ(seen[0], 0);
    EXPECT_NEAR(seen[1], 10, 2);
    EXPECT_NEAR(seen[2], 30, 2);
  }
}

TEST(topics, hidden_states_are_a_function_of_their_arguments) {
  const topic_inputs inputs(three_topics());
  const auto one = inputs.hidden(1, 5, 2, 3);
  EXPECT_EQ(one.size(), 3u * 64);
  EXPECT_EQ(one, topic_inputs(three_topics()).hidden(1, 5, 2, 3));
  EXPECT_NE(one, inputs.hidden(2, 5, 2, 3));
  EXPECT_NE(one, inputs.hidden(1, 6, 2, 3));
  EXPECT_NE(one, inputs.hidden(1, 5, 1, 3));
}

TEST(topics, hidden_states_point_at_their_topic_and_at_no_other) {
  const auto traffic = three_topics();
  const topic_inputs inputs(traffic);
  const auto directions = topic_directions(traffic.seed, traffic.topics, traffic.hidden);
  const auto hidden = inputs.hidden(1, 5, 2, 4);
  for (std::size_t token = 0; token < 4; ++token) {
    double size = 0;
    std::vector<double> along(3);
    for (std::size_t i = 0; i < 64; ++i) {
      const double value = static_cast<double>(hidden[token * 64 + i]);
      size += value * value;
      for (std::size_t t = 0; t < 3; ++t) along[t] += value * directions[t][i];
    }
    EXPECT_NEAR(std::sqrt(size / 64), 1.0, 1e-5);
    EXPECT_THAT(along, ElementsAre(DoubleNear(0, 1e-4), DoubleNear(0, 1e-4), DoubleNear(8 * traffic.signal, 1e-4)));
  }
}

TEST(topics, chances_are_in_proportion_and_capped) {
  const auto chances = chances_of({100, 10, 5, 5, 0}, 2, 0.9);
  EXPECT_DOUBLE_EQ(chances[0], 0.9);
  EXPECT_DOUBLE_EQ(chances[1], 0.55);
  EXPECT_DOUBLE_EQ(chances[2], 0.275);
  EXPECT_DOUBLE_EQ(chances[3], 0.275);
  EXPECT_DOUBLE_EQ(chances[4], 0);
  for (const double chance : chances_of({0, 0, 0, 0}, 2, 0.9)) EXPECT_DOUBLE_EQ(chance, 0.5);
  for (const double chance : chances_of({1, 2, 3}, 3, 0.9)) EXPECT_DOUBLE_EQ(chance, 0.9);
}

}  // namespace
}  // namespace ballast
