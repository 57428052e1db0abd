// Rows of numbers as JSON, straight into a text: a document tree would take many times the room. Private to
// policies/formats/.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <vector>

namespace ballast::policies {

template <class T>
void append_list(std::string& out, const std::vector<T>& row) {
  out += '[';
  for (std::size_t i = 0; i < row.size(); ++i)
    fmt::format_to(std::back_inserter(out), "{}{}", i == 0 ? "" : ",", row[i]);
  out += ']';
}

template <class T>
void append_table(std::string& out, const std::vector<std::vector<T>>& rows) {
  out += '[';
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i > 0) out += ',';
    append_list(out, rows[i]);
  }
  out += ']';
}

}  // namespace ballast::policies
