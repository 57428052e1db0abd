#include "tests/tidy/source_tree.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <regex>
#include <sstream>

namespace ballast::tidy {
namespace {

namespace fs = std::filesystem;

bool is_text(const fs::path& path) {
  static const std::array known = {".hpp", ".cpp", ".cu",   ".cuh", ".py",      ".sh",   ".cmake",
                                   ".txt", ".md",  ".json", ".yml", ".service", ".toml", ".supp"};
  const auto extension = path.extension().string();
  if (extension.empty()) return path.filename() == "Dockerfile" || path.parent_path().filename() == ".ci";
  return std::find(known.begin(), known.end(), extension) != known.end();
}

bool is_left_out(const fs::path& folder) {
  const auto name = folder.filename().string();
  return name.starts_with("build") || name == "__pycache__" || name == "data" ||
         (name.starts_with(".") && name != ".ci");
}

source_file load(const fs::path& root, const fs::path& path) {
  source_file file;
  file.path = fs::relative(path, root).generic_string();
  std::ifstream in(path, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  file.text = all.str();
  std::istringstream rows(file.text);
  for (std::string row; std::getline(rows, row);) file.lines.push_back(row);
  return file;
}

}  // namespace

bool source_file::has_extension(const char* extension) const { return path.ends_with(extension); }

bool source_file::is_cpp() const {
  return has_extension(".hpp") || has_extension(".cpp") || has_extension(".cu") || has_extension(".cuh");
}

std::string source_file::folder() const {
  const auto slash = path.find('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::vector<source_file> read_tree(const fs::path& root) {
  std::vector<source_file> tree;
  auto entry = fs::recursive_directory_iterator(root);
  for (const auto end = fs::recursive_directory_iterator(); entry != end; ++entry) {
    if (entry->is_directory()) {
      if (is_left_out(entry->path())) entry.disable_recursion_pending();
    } else if (entry->is_regular_file() && is_text(entry->path())) {
      tree.push_back(load(root, entry->path()));
    }
  }
  std::sort(tree.begin(), tree.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return tree;
}

std::vector<include_line> includes_of(const source_file& file) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<include_line> found;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    std::smatch match;
    if (std::regex_search(file.lines[i], match, pattern)) found.push_back({i + 1, match[2], match[1] == "\""});
  }
  return found;
}

namespace {

std::string without_cmake_comments(const std::string& text) {
  return std::regex_replace(text, std::regex("#[^\n]*"), "");
}

std::string bare_target(std::string name) {
  for (const std::string prefix : {"ballast::", "ballast_"}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

// One CMake command with its words: add_executable(ballast main.cpp) -> {"ballast", "main.cpp"}.
struct command_call {
  std::string name;
  std::vector<std::string> words;
};

std::vector<command_call> commands_of(const std::string& text) {
  static const std::regex call(R"((\w+)\s*\(([^()]*)\))");
  std::vector<command_call> calls;
  for (std::sregex_iterator it(text.begin(), text.end(), call), end; it != end; ++it) {
    command_call one{(*it)[1], {}};
    std::istringstream words((*it)[2]);
    for (std::string word; words >> word;) one.words.push_back(word);
    calls.push_back(std::move(one));
  }
  return calls;
}

bool is_keyword(const std::string& word) {
  return word == "PUBLIC" || word == "PRIVATE" || word == "INTERFACE" || word == "LINK" || word == "SOURCES" ||
         word == "STATIC" || word == "SHARED" || word == "TIMEOUT";
}

void read_commands(const source_file& file, link_graph& graph) {
  for (const auto& [name, words] : commands_of(without_cmake_comments(file.text))) {
    const bool library = name == "ballast_library";
    const bool defines = library || name == "add_executable" || name == "add_library" || name == "ballast_test" ||
                         name == "ballast_tool" || name == "ballast_benchmark";
    if (words.empty() || (!defines && name != "target_link_libraries")) continue;
    const auto target = bare_target(words[0]);
    if (defines) graph.targets.emplace_back(target, file.folder());
    bool linking = name == "target_link_libraries";
    for (std::size_t i = 1; i < words.size(); ++i) {
      if (is_keyword(words[i])) {
        if (name != "target_link_libraries") linking = words[i] == "LINK" || (library && words[i] == "PRIVATE");
      } else if (linking) {
        graph.edges.push_back({target, bare_target(words[i]), file.path});
      }
    }
  }
}

}  // namespace

link_graph read_link_graph(const std::vector<source_file>& tree) {
  link_graph graph;
  for (const auto& file : tree) {
    if (!file.path.ends_with("CMakeLists.txt") || file.folder().empty()) continue;
    read_commands(file, graph);
  }
  return graph;
}

}  // namespace ballast::tidy
