// Reads the project's own tree for the tidy test: files, includes, link graph, lengths of functions. Heuristics over
// text with comments and strings blanked out; no compiler.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ballast::tidy {

struct source_file {
  std::string path;  // relative to the project's root, with '/'
  std::string text;
  std::vector<std::string> lines;

  bool has_extension(const char* extension) const;  // ".hpp"
  bool is_cpp() const;                              // .hpp, .cpp, .cu, .cuh
  std::string folder() const;                       // top-level folder, "" for root files
};

// Every text file of the project below `root`, sorted by path; build trees and hidden folders are left out (not .ci).
std::vector<source_file> read_tree(const std::filesystem::path& root);

// The same text with comments, string and character literals replaced by spaces; lines keep their numbers.
std::string blank_comments_and_strings(const std::string& text);

struct include_line {
  std::size_t line = 0;
  std::string target;  // between the quotes or brackets
  bool quoted = false;
};
std::vector<include_line> includes_of(const source_file& file);

struct function_span {
  std::string name;       // last identifier before the parameter list
  std::size_t line = 0;   // of the opening brace
  std::size_t lines = 0;  // from the opening brace's line to the closing one's, inclusive
};
std::vector<function_span> functions_of(const std::string& text);

// A target defined or linked in a CMakeLists.txt.
struct link_edge {
  std::string from, to;  // target names without "ballast_" or "ballast::"
  std::string file;
};
struct link_graph {
  std::vector<std::pair<std::string, std::string>> targets;  // name -> top-level folder
  std::vector<link_edge> edges;
};
link_graph read_link_graph(const std::vector<source_file>& tree);

}  // namespace ballast::tidy
