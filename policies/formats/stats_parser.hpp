// One record of a recording, from its tree to numbers, with every rule checked. Private to policies/formats/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "policies/formats/load_records.hpp"
#include "policies/formats/tree.hpp"

namespace ballast::policies {

// An optional whole number in 0..2^20; false when the key is there and holds something else.
bool read_count(const node& object, const char* key, std::uint32_t& out);

// What the records so far have settled: from then on every record must agree. Errors carry no file name; `at` of them
// is the line.
class stats_parser {
 public:
  explicit stats_parser(const load_options& options) : options_(options) {}

  struct fault {
    std::uint64_t line;
    std::string text;
  };
  template <class T>
  using parsed = tl::expected<T, fault>;

  parsed<void> take_meta(const node& object);
  parsed<load_record> take_stats(const node& object);
  parsed<load_record> take_count(const node& table);  // a table of logical_count

  load_meta meta;
  std::vector<std::vector<std::int32_t>> last_map;  // [layer][slot]; empty: none

 private:
  parsed<void> take_shape(const node& rows, const node* map);
  parsed<void> take_experts(const node& rows, const node* map);
  parsed<void> take_rows(const node& rows, const node* map, load_record& record);
  parsed<void> take_row(const node& row, const node* ids, std::size_t layer, std::vector<double>& out) const;
  parsed<void> take_extras(const node& object, load_record& record) const;
  void take_rank_loads(const node& rows, load_record& record) const;
  std::size_t first() const { return document_ ? options_.first_dense_layers : 0; }
  std::uint32_t delivered(std::uint32_t in_file) const;

  load_options options_;
  std::uint32_t layers_in_file_ = 0;               // 0: not known yet
  bool shape_settled_ = false, document_ = false;  // the document counts dense layers, records do not
  std::optional<std::uint32_t> redundant_;
};

}  // namespace ballast::policies
