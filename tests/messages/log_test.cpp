#include "messages/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace ballast {
namespace {

// What `f` writes to standard error, by line.
template <class F>
std::vector<std::string> lines_of(F f) {
  testing::internal::CaptureStderr();
  f();
  std::vector<std::string> lines;
  std::string text = testing::internal::GetCapturedStderr();
  for (std::size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1))
    lines.push_back(text.substr(0, end));
  EXPECT_EQ(text, "");
  return lines;
}

struct log_test : testing::Test {
  ~log_test() override {
    log::set_level(log::level::info);
    log::set_process_name("ballast");
  }
};

TEST_F(log_test, a_line_has_time_level_process_and_text) {
  log::set_process_name("agent 100%");
  const auto lines = lines_of([] { log::warn("seat {} is {}", 3, "lost"); });
  ASSERT_EQ(lines.size(), 1u);
  const std::string time = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}";
  EXPECT_THAT(lines[0], testing::MatchesRegex(time + " W agent 100%\\[[0-9]+\\] seat 3 is lost"));
}

TEST_F(log_test, lines_below_the_level_are_left_out) {
  log::set_level(log::level::warn);
  EXPECT_FALSE(log::enabled(log::level::info));
  EXPECT_TRUE(log::enabled(log::level::error));
  EXPECT_EQ(lines_of([] { log::debug("a"), log::info("b"), log::warn("c"), log::error("d"); }).size(), 2u);
  log::set_level(log::level::off);
  EXPECT_EQ(lines_of([] { log::error("a"), log::write(log::level::off, "b"); }).size(), 0u);
  log::set_level(log::level::debug);
  EXPECT_EQ(lines_of([] { log::debug("a"), log::info("b"), log::warn("c"), log::error("d"); }).size(), 4u);
}

TEST_F(log_test, text_from_outside_stays_within_its_line) {
  const auto lines = lines_of([] { log::info("peer said {}", "a\nforged\x1b[2J {}"); });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("peer said a forged [2J {}"), std::string::npos) << lines[0];
}

TEST_F(log_test, threads_do_not_mix_their_lines) {
  constexpr int threads = 4, each = 200;
  const auto lines = lines_of([] {
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
      all.emplace_back([t] {
        for (int i = 0; i < each; ++i)
          log::info("thread {} wrote {} {}", t, std::string(100, static_cast<char>('a' + t)), i);
        log::set_process_name("renamed");
      });
    for (auto& t : all) t.join();
  });
  EXPECT_EQ(lines.size(), std::size_t{threads * each});
  for (const auto& line : lines)
    EXPECT_THAT(line, testing::MatchesRegex(".* thread [0-3] wrote (a{100}|b{100}|c{100}|d{100}) [0-9]+"));
}

}  // namespace
}  // namespace ballast
