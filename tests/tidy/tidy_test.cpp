// The project's rules about its own tree: who may know whom, how long things may be, what may be named where.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "tests/support/paths.hpp"
#include "tests/tidy/source_tree.hpp"

namespace ballast::tidy {
namespace {

constexpr std::size_t longest_file_lines = 400;
constexpr std::size_t longest_function_lines = 70;

const std::vector<source_file>& tree() {
  static const auto files = read_tree(source_folder());
  return files;
}

// The dependency table of ARCHITECTURE.md: folder -> folders it may include and link.
const std::map<std::string, std::set<std::string>>& may_know() {
  static const std::map<std::string, std::set<std::string>> table = {
      {"messages", {}},
      {"policies", {"messages"}},
      {"gpu", {"messages"}},
      {"agent", {"messages", "gpu"}},
      {"coordinator", {"messages", "policies"}},
      {"cli", {"messages", "policies", "gpu", "agent", "coordinator"}},
  };
  return table;
}

bool allowed(const std::string& from, const std::string& to) {
  return from == to || from == "tests" || !may_know().contains(from) || may_know().at(from).contains(to);
}

// Of messages/, the pure and the device layers know the vocabulary only: no link, no codec, no commands.
bool is_vocabulary(const std::string& header) {
  return header == "messages/result.hpp" || header == "messages/types.hpp" || header == "messages/log.hpp";
}

TEST(tidy, every_folder_of_the_design_exists) {
  for (const char* folder :
       {"messages", "policies", "gpu", "gpu/host", "agent", "coordinator", "cli", "deploy", "tests"}) {
    EXPECT_TRUE(std::filesystem::is_directory(std::filesystem::path(source_folder()) / folder)) << folder;
  }
}

TEST(tidy, the_tree_was_read) { EXPECT_GT(tree().size(), 50u) << "nothing to judge below " << source_folder(); }

TEST(tidy, folders_include_only_what_the_table_allows) {
  for (const auto& file : tree()) {
    if (!file.is_cpp()) continue;
    for (const auto& [line, target, quoted] : includes_of(file)) {
      const auto slash = target.find('/');
      const auto folder = target.substr(0, std::min(slash, target.size()));
      const bool ours = quoted && (may_know().contains(folder) || folder == "tests");
      EXPECT_TRUE(!ours || allowed(file.folder(), folder)) << file.path << ":" << line << " includes " << target;
      const bool narrow = file.folder() == "policies" || file.folder() == "gpu";
      EXPECT_TRUE(!narrow || folder != "messages" || is_vocabulary(target))
          << file.path << ":" << line << " includes " << target;
      EXPECT_TRUE(!quoted || slash != std::string::npos)
          << file.path << ":" << line << ": paths are from the root: " << target;
    }
  }
}

TEST(tidy, targets_link_only_what_the_table_allows) {
  const auto graph = read_link_graph(tree());
  std::map<std::string, std::string> home(graph.targets.begin(), graph.targets.end());
  std::size_t judged = 0;
  for (const auto& [from, to, file] : graph.edges) {
    if (!home.contains(from) || !home.contains(to)) continue;
    ++judged;
    EXPECT_TRUE(allowed(home[from], home[to]))
        << file << ": " << from << " (" << home[from] << ") links " << to << " (" << home[to] << ")";
  }
  EXPECT_GT(judged, 10u);
}

TEST(tidy, third_party_layers_stay_at_home) {
  struct rule {
    const char* what;
    std::regex header;
    std::vector<std::string> homes;
  };
  const rule rules[] = {
      {"CAF", std::regex("^caf/"), {"coordinator/", "agent/"}},
      {"ZeroMQ", std::regex("^zmq(_addon)?\\.h(pp)?$"), {"messages/", "gpu/host/"}},
      {"msgpack", std::regex("^msgpack(\\.h|/)"), {"messages/"}},
      {"CUDA", std::regex("^(cuda|nccl|nvml)[a-z_]*\\.h$|^(cuda|cub|cooperative_groups)/"), {"gpu/cuda/"}},
  };
  for (const auto& file : tree()) {
    if (!file.is_cpp()) continue;
    const bool test_source = file.folder() == "tests" && !file.has_extension(".hpp");  // may speak garbage to sockets
    if (test_source) continue;
    for (const auto& [line, target, quoted] : includes_of(file)) {
      for (const auto& [what, header, homes] : rules) {
        if (!std::regex_search(target, header)) continue;
        const bool home =
            std::any_of(homes.begin(), homes.end(), [&](const auto& h) { return file.path.starts_with(h); });
        EXPECT_TRUE(home) << file.path << ":" << line << ": " << what << " has no business here";
      }
    }
  }
}

TEST(tidy, files_are_short) {
  for (const auto& file : tree()) {
    if (file.has_extension(".md") || file.has_extension(".json") || file.has_extension(".txt")) continue;
    EXPECT_LE(file.lines.size(), longest_file_lines) << file.path;
  }
}

TEST(tidy, functions_are_short) {
  std::size_t seen = 0;
  for (const auto& file : tree()) {
    if (!file.is_cpp()) continue;
    for (const auto& [name, line, lines] : functions_of(file.text)) {
      ++seen;
      EXPECT_LE(lines, longest_function_lines) << file.path << ":" << line << " " << name;
    }
  }
  EXPECT_GT(seen, 200u);
}

TEST(tidy, headers_are_guarded_once) {
  for (const auto& file : tree()) {
    if (!file.has_extension(".hpp") && !file.has_extension(".cuh")) continue;
    EXPECT_NE(file.text.find("#pragma once"), std::string::npos) << file.path;
  }
}

TEST(tidy, nothing_is_left_for_later) {
  const std::regex left(std::string("\\bTO") + "DO\\b|\\bFIX" + "ME\\b|\\bX" + "XX\\b");
  for (const auto& file : tree()) {
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(file.lines[i], left)) << file.path << ":" << i + 1 << ": " << file.lines[i];
    }
  }
}

TEST(tidy, packages_are_named_in_one_place) {
  const std::regex package(R"(\bapt(-get)?\s+(-\S+\s+)*(install|update)\b|\blib[a-z0-9+.-]+-dev\b)");
  for (const auto& file : tree()) {
    if (file.path == "deploy/install-deps.sh" || file.has_extension(".md") || file.folder() == "tests") continue;
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      const auto code = file.lines[i].substr(0, file.lines[i].find('#'));
      EXPECT_FALSE(std::regex_search(code, package)) << file.path << ":" << i + 1 << ": " << code;
    }
  }
}

TEST(tidy, no_test_or_program_waits_by_the_clock_alone) {
  const std::regex nap(R"(sleep_for|sleep_until|\busleep\b|\bnanosleep\b)");
  for (const auto& file : tree()) {
    if (!file.is_cpp()) continue;
    const auto code = blank_comments_and_strings(file.text);
    EXPECT_FALSE(std::regex_search(code, nap)) << file.path << " sleeps in place of an event";
  }
}

}  // namespace
}  // namespace ballast::tidy
