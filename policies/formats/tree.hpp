// A JSON or YAML value as the formats look at it, built within limits. Private to policies/formats/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ballast::policies {

// Lists of numbers are kept packed: 8 bytes a number, so that a table is as large as it looks.
struct node {
  enum class kind_t : std::uint8_t { null, boolean, number, text, list, map };
  static constexpr std::size_t npos = ~std::size_t{0};

  kind_t kind = kind_t::null;
  std::uint64_t line = 0;
  double number = 0;  // of a number; 0 or 1 of a boolean
  std::string text;
  std::vector<double> numbers;    // of a list that begins with one
  std::vector<node> items;        // of any other list, and the values of a map
  std::vector<std::string> keys;  // of a map
  std::size_t odd_at = npos;      // where a list stops being all numbers or all something else; the rest is dropped

  bool is_list() const noexcept { return kind == kind_t::list; }
  bool is_map() const noexcept { return kind == kind_t::map; }
  bool is_text() const noexcept { return kind == kind_t::text; }
  bool is_null() const noexcept { return kind == kind_t::null; }
  bool is_number() const noexcept { return kind == kind_t::number; }
  bool is_whole() const noexcept;  // a whole number that a double holds exactly
  std::size_t size() const noexcept { return numbers.empty() ? items.size() : numbers.size(); }
  std::size_t first_no_number() const noexcept;  // of a list; npos: all are numbers
  std::size_t first_no_list() const noexcept;    // of a list; npos: all are lists
  const node* find(const std::string& key) const noexcept;
};

bool is_whole(double number) noexcept;

// Builds one value from the events of a parser. A call answers false where a limit or rule is broken; fault() says
// which.
class tree_builder {
 public:
  static constexpr std::size_t depth_max = 16, nodes_max = 1 << 20, numbers_max = 1 << 24, text_max = 1 << 22;

  bool begin(node::kind_t list_or_map, std::uint64_t line);
  bool end();
  bool key(std::string name);
  bool number(double value, std::uint64_t line);
  bool other(node::kind_t kind, std::string text, double value, std::uint64_t line);

  bool done() const noexcept { return started_ && open_.empty(); }
  std::size_t depth() const noexcept { return open_.size(); }
  node take() && { return std::move(root_); }
  const std::string& fault() const noexcept { return fault_; }
  bool refuse(std::string why);

 private:
  node* add(node::kind_t kind, std::uint64_t line);

  node root_;
  bool started_ = false;
  std::vector<node*> open_;  // stable: a value grows only while it is the innermost one
  std::size_t nodes_ = 0, numbers_ = 0, text_bytes_ = 0;
  std::string fault_;
};

}  // namespace ballast::policies
