#include "messages/settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

namespace ballast {
namespace {

using testing::HasSubstr;

settings parsed(const std::string& text) {
  auto s = settings::from_text(text, "agent.toml");
  EXPECT_TRUE(s) << s.error().text;
  return *s;
}

void expect_fault(const settings& s, const std::string& text) {
  const status done = s.finish();
  ASSERT_FALSE(done) << "expected: " << text;
  EXPECT_EQ(done.error().code, errc::invalid_argument);
  EXPECT_THAT(done.error().text, HasSubstr(text));
}

TEST(settings, reads_every_type_and_keeps_defaults_for_absent_keys) {
  const settings s = parsed("name = \"a\"\nfast = true\nratio = 0.5\nwhole = 2\ncount = 7\n");
  EXPECT_EQ(s.get("name", "x"), "a");
  EXPECT_TRUE(s.get("fast", false));
  EXPECT_EQ(s.get("ratio", 0.0, 0.0, 1.0), 0.5);
  EXPECT_EQ(s.get("whole", 0.0, 0.0, 10.0), 2.0);
  EXPECT_EQ(s.get("count", std::uint64_t{1}, 1, 10), 7u);
  EXPECT_EQ(s.get("absent", "x"), "x");
  EXPECT_EQ(s.get("absent_port", std::uint16_t{80}, 1, 100000), 80);
  EXPECT_EQ(s.get("absent_plain", 5, 1, 10), 5);
  EXPECT_TRUE(s.has("name"));
  EXPECT_FALSE(s.has("nothing"));
  EXPECT_TRUE(s.finish()) << s.finish().error().text;
}

TEST(settings, an_unknown_key_names_its_line_and_the_closest_known_one) {
  const settings s = parsed("[link]\naddress = \"x\"\nheart_beat_ms = 3\n");
  const settings link = s.table("link");
  (void)link.get("address", ""), (void)link.get("heartbeat_ms", 1, 1, 9);
  expect_fault(link, "agent.toml:3 [link]: heart_beat_ms: unknown key; did you mean heartbeat_ms?");
  expect_fault(s, "heart_beat_ms: unknown key");  // the file's own check covers its tables
}

TEST(settings, an_unknown_key_far_from_all_lists_those_known) {
  const settings s = parsed("zzzzzz = 1\n");
  (void)s.get("name", ""), (void)s.get("port", 1, 1, 9);
  expect_fault(s, "agent.toml:1: zzzzzz: unknown key; known keys: name, port");
}

TEST(settings, a_table_nobody_asked_for_is_unknown_too) {
  const settings s = parsed("[agnet]\nname = \"x\"\n");
  (void)s.table("agent");
  expect_fault(s, "agnet: unknown key; did you mean agent?");
}

TEST(settings, wrong_types_and_ranges_name_what_was_expected) {
  const auto fault = [](const std::string& text, auto read, const std::string& expected) {
    const settings s = parsed(text);
    read(s);
    expect_fault(s, expected);
  };
  fault(
      "\nport = 0\n", [](const settings& s) { EXPECT_EQ(s.get("port", 9, 1, 65535), 9); },
      "agent.toml:2: port: expected a whole number from 1 to 65535, not 0");
  fault(
      "port = -4\n", [](const settings& s) { (void)s.get("port", 9, 0, 65535); }, "from 0 to 65535, not -4");
  fault(
      "port = 70000\n", [](const settings& s) { (void)s.get("port", std::uint16_t{9}, 0, 1000000); },
      "from 0 to 65535, not 70000");
  fault(
      "port = 1.5\n", [](const settings& s) { (void)s.get("port", 9, 0, 65535); },
      "port: expected a whole number from 0 to 65535");
  fault(
      "ratio = nan\n", [](const settings& s) { (void)s.get("ratio", 0.5, 0.0, 1.0); },
      "ratio: expected a number from 0 to 1, not nan");
  fault(
      "ratio = \"a\"\n", [](const settings& s) { (void)s.get("ratio", 0.5, 0.0, 1.0); },
      "expected a number from 0 to 1");
  fault(
      "name = 3\n", [](const settings& s) { EXPECT_EQ(s.get("name", "x"), "x"); }, "name: expected text in quotes");
  fault(
      "fast = 1\n", [](const settings& s) { (void)s.get("fast", true); }, "fast: expected true or false");
  fault(
      "rank = 1\n", [](const settings& s) { (void)s.table("rank"); }, "rank: expected a table: [rank]");
  fault(
      "rank = [1]\n", [](const settings& s) { EXPECT_TRUE(s.tables("rank").empty()); },
      "rank: expected a list of tables: [[rank]]");
}

TEST(settings, the_first_fault_is_the_one_reported) {
  const settings s = parsed("a = 0\nb = 0\n");
  (void)s.get("b", 1, 1, 9), (void)s.get("a", 1, 1, 9);
  expect_fault(s, "agent.toml:2: b:");
}

TEST(settings, tables_come_in_order_and_say_where_they_are) {
  const settings s =
      parsed("[[models]]\nname = \"a\"\n\n[[models]]\nname = \"b\"\nlayers = 3\n[models.shape]\nwide = 1\n");
  const auto models = s.tables("models");
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].get("name", ""), "a");
  EXPECT_EQ(models[1].get("name", ""), "b");
  EXPECT_EQ(models[1].where(), "agent.toml:4 [models[1]]");
  (void)models[0].get("layers", 1, 1, 9), (void)models[1].get("layers", 1, 1, 9);
  expect_fault(s, "agent.toml:7 [models[1]]: shape: unknown key");
  (void)models[1].table("shape");
  expect_fault(s, "agent.toml:8 [models[1].shape]: wide: unknown key; this table has no keys");
  EXPECT_TRUE(s.tables("absent").empty());
  EXPECT_FALSE(s.table("gone").has("x"));
  EXPECT_EQ(s.table("gone").get("x", 4, 1, 9), 4);
}

TEST(settings, text_that_is_no_toml_names_the_line) {
  const auto s = settings::from_text("a = 1\nb = = 2\n", "x.toml");
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, errc::malformed);
  EXPECT_THAT(s.error().text, HasSubstr("x.toml:2: "));
}

TEST(settings, a_table_name_that_is_none_is_refused_by_every_build) {
  for (const auto* text : {"[[^model]]\n", "[^model]\n", "\x11name = 1\n"}) {
    const auto s = settings::from_text(text, "agent.toml");
    ASSERT_FALSE(s) << text;
    EXPECT_THAT(s.error().text, HasSubstr("agent.toml:1: "));
  }
}

// toml++ 3.3.0 takes some letters for neither blanks nor anything else.
TEST(settings, a_letter_where_blanks_may_stand_is_refused) {
  for (const std::string text : {"\xef\xbb\xbd", "a = 1 \xc3\xa9", "[t] \xe3\x80\x81", "\xc3\xa9 = 1"})
    EXPECT_FALSE(settings::from_text(text)) << text;
  EXPECT_TRUE(settings::from_text("a = \"\xc3\xa9\" # \xef\xbb\xbd"));
}

TEST(settings, what_is_said_of_a_file_is_one_line_whatever_is_in_it) {
  const auto cut = settings::from_text("a = { flag = f\nb = 1\n");
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().text.find('\n'), std::string::npos) << cut.error().text;
  expect_fault(parsed("\"a\\nb\" = 1\n"), "agent.toml:1: a?b: unknown key");
  const settings s = parsed("name = \"a\\u0007b\"\n");
  EXPECT_EQ(s.get("name", "otherwise"), "otherwise");
  expect_fault(s, "agent.toml:1: name: expected text on one line, without control characters");
}

TEST(settings, a_file_that_cannot_be_read_is_named) {
  const std::string path = testing::TempDir() + "ballast_settings_" + std::to_string(getpid()) + ".toml";
  auto missing = settings::from_file(path);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, errc::io);
  EXPECT_THAT(missing.error().text, HasSubstr(path));
  ASSERT_FALSE(settings::from_file(testing::TempDir())) << "a folder is no file";

  std::FILE* file = std::fopen(path.c_str(), "w");
  ASSERT_TRUE(file);
  std::fputs("name = \"from a file\"\n", file);
  std::fclose(file);
  const auto s = settings::from_file(path);
  ASSERT_TRUE(s) << s.error().text;
  EXPECT_EQ(s->get("name", ""), "from a file");
  EXPECT_TRUE(s->finish());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace ballast
