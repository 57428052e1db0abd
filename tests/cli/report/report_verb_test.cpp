// `ballast report` as a user runs it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/cli/run_ballast.hpp"
#include "tests/support/paths.hpp"

namespace ballast {
namespace {

const std::string drift = test_data("small-drift-s1.jsonl.gz"), other = test_data("small-shift-s3.jsonl.gz");

test::outcome run(std::vector<std::string> words) {
  words.insert(words.begin(), "report");
  return test::run_ballast(words);
}

TEST(report_verb, writes_a_page_and_says_how_large_it_is) {
  const auto file = testing::TempDir() + "/ballast_report_verb.html";
  const auto done = run({"--stats", drift + "," + other, "--ranks", "4", "--redundant", "4", "--policy",
                         "economy,deepseek", "--out", file});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(done.out.starts_with(file + ": 6 layouts and runs, ")) << done.out;
  std::ifstream in(file);
  std::stringstream page;
  page << in.rdbuf();
  EXPECT_NE(page.str().find("\"name\":\"deepseek, small-shift\""), std::string::npos);
  EXPECT_EQ(page.str().find(source_folder()), std::string::npos) << "a page tells nobody where files lay";
  std::filesystem::remove(file);
}

TEST(report_verb, writes_to_standard_output) {
  const auto done = run({"--stats", drift, "--ranks", "4", "--out", "-"});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(done.out.starts_with("<!doctype html>"));
  EXPECT_TRUE(done.out.ends_with("</html>\n\n") || done.out.ends_with("</html>\n"));
}

TEST(report_verb, refuses_what_cannot_be_shown) {
  const auto refused = [](std::vector<std::string> words) {
    words.insert(words.end(), {"--out", "-"});
    const auto done = run(words);
    EXPECT_NE(done.code, 0);
    EXPECT_TRUE(done.out.empty());
    return done.err;
  };
  const auto expect = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  };
  expect(refused({}), "give --stats FILE or --simulation FILE");
  expect(refused({"--stats", drift}), "--ranks");
  expect(refused({"--stats", drift, "--ranks", "4", "--policy", "clever"}), "clever");
  expect(refused({"--stats", drift, "--ranks", "4", "--interval", "1,2,3,4,5", "--policy", "economy,quality"}),
         "--simulation");
  expect(refused({"--stats", drift, "--ranks", "4", "--interval", "100"}), "--interval");
  expect(refused({"--stats", drift, "--ranks", "4", "--records", "20"}), "20 records");
  expect(refused({"--stats", drift, "--ranks", "2", "--nodes", "3"}), "3 nodes");
  expect(refused({"--stats", drift + ".none", "--ranks", "4"}), "none");
  expect(refused({"--simulation", drift}), "is not JSON");
}

}  // namespace
}  // namespace ballast
