// The tidy test's own tools find what they are meant to find: otherwise the tree could never fail.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tidy/source_tree.hpp"

namespace ballast::tidy {
namespace {

source_file file_of(const std::string& path, const std::string& text) {
  source_file file{path, text, {}};
  std::string row;
  for (const char c : text) {
    if (c == '\n') {
      file.lines.push_back(row);
      row.clear();
    } else {
      row += c;
    }
  }
  return file;
}

TEST(tidy_scan, blanks_comments_and_literals_but_keeps_lines) {
  const auto out =
      blank_comments_and_strings("int a; // { b\nchar c = '{'; /* }\n */ auto s = \"}\\\"{\";\nR\"x(})x\";\n");
  EXPECT_EQ(out.find('{'), std::string::npos);
  EXPECT_EQ(out.find('}'), std::string::npos);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 4);
}

TEST(tidy_scan, digit_separators_are_no_characters) {
  const auto out = blank_comments_and_strings("int a = 10'000; int f() { return 1; }");
  EXPECT_NE(out.find('{'), std::string::npos);
}

TEST(tidy_scan, measures_functions_at_any_place) {
  const auto found = functions_of(
      "namespace a {\nstruct s {\n  int f() const {\n    return 1;\n  }\n  s() : x_{1}, y_(2) {\n\n\n  }\n  int x_, "
      "y_;\n};\n"
      "int g(int a)\n{\n  auto l = [&] { return a; };\n  if (a) {\n  }\n  return l();\n}\n}\n");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].name, "f");
  EXPECT_EQ(found[0].lines, 3u);
  EXPECT_EQ(found[1].name, "s");
  EXPECT_EQ(found[1].lines, 4u);
  EXPECT_EQ(found[2].name, "g");
  EXPECT_EQ(found[2].line, 13u);
  EXPECT_EQ(found[2].lines, 6u);
}

TEST(tidy_scan, tables_and_types_are_no_functions) {
  EXPECT_TRUE(
      functions_of("constexpr int t[] = {\n1,\n2};\nenum class e : int { a, b };\nclass c final : public d {};\n")
          .empty());
}

TEST(tidy_scan, reads_includes_with_their_lines) {
  const auto found = includes_of(file_of("x.cpp", "// x\n#include <zmq.hpp>\n#  include \"gpu/pages.hpp\"\n"));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].target, "zmq.hpp");
  EXPECT_FALSE(found[0].quoted);
  EXPECT_EQ(found[1].line, 3u);
  EXPECT_TRUE(found[1].quoted);
}

TEST(tidy_scan, reads_the_link_graph) {
  const auto graph =
      read_link_graph({file_of("agent/CMakeLists.txt",
                               "# ballast_library(no)\nballast_library(agent SOURCES a.cpp LINK ballast::gpu\n"
                               "  PRIVATE ballast_dep::caf)\nadd_executable(ballast-agent main.cpp)\n"
                               "target_link_libraries(ballast-agent PRIVATE ballast_agent)\n")});
  ASSERT_EQ(graph.targets.size(), 2u);
  EXPECT_EQ(graph.targets[0], (std::pair<std::string, std::string>{"agent", "agent"}));
  ASSERT_EQ(graph.edges.size(), 3u);
  EXPECT_EQ(graph.edges[0].to, "gpu");
  EXPECT_EQ(graph.edges[1].to, "dep::caf");
  EXPECT_EQ(graph.edges[2].to, "agent");
}

}  // namespace
}  // namespace ballast::tidy
