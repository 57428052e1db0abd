#include "messages/settings.hpp"

#include <fmt/format.h>

// The parser's checks of itself would end the process on text that it goes on to refuse, "[[^a]]" for one.
#define TOML_ASSERT(expr) static_cast<void>(0)
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <set>

namespace ballast {
namespace {

struct document {
  std::string name;
  toml::table root;
};

// Edits (insert, delete, replace) that turn a into b.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// What stands in a file may hold line ends; what is said of it is one line.
std::string one_line(std::string text) {
  std::ranges::replace_if(text, is_control, '?');
  return text;
}

std::string remedy(const std::string& key, const std::set<std::string>& known) {
  if (known.empty()) return "this table has no keys; remove it";
  const auto nearest = std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
    return edit_distance(key, a) < edit_distance(key, b);
  });
  if (edit_distance(key, *nearest) <= std::max<std::size_t>(2, key.size() / 3))
    return fmt::format("did you mean {}?", *nearest);
  return fmt::format("known keys: {}", fmt::join(known, ", "));
}

}  // namespace

struct settings::impl {
  std::shared_ptr<const document> file;
  const toml::table* table = nullptr;  // null: absent from the file
  std::string path;                    // "agent.ranks[1]"; empty for the file itself
  std::set<std::string> known;         // keys asked for
  std::map<std::string, std::vector<std::shared_ptr<impl>>> children;
  std::string fault;

  const toml::node* find(const std::string& key) {
    known.insert(key);
    return table ? table->get(key) : nullptr;
  }

  std::string where(const toml::node* node) const {
    const toml::node* at = node ? node : table;
    const std::string line = at && at->source().begin ? fmt::format(":{}", at->source().begin.line) : "";
    return file->name + line + (path.empty() ? "" : fmt::format(" [{}]", path));
  }

  void wrong(const std::string& key, const toml::node& node, const std::string& expected) {
    if (fault.empty()) fault = fmt::format("{}: {}: expected {}", where(&node), key, expected);
  }

  // The value if it has type T; a fault if it has another; nothing if it is absent.
  template <class T>
  std::optional<T> value(const std::string& key, const char* expected) {
    const toml::node* node = find(key);
    if (!node) return std::nullopt;
    const auto found = node->value_exact<T>();
    if (!found) wrong(key, *node, expected);
    return found;
  }

  std::shared_ptr<impl> child(const std::string& key, const toml::table* found, const std::string& index = "") const {
    auto made = std::make_shared<impl>();
    made->file = file;
    made->table = found;
    made->path = (path.empty() ? key : path + "." + key) + index;
    return made;
  }

  status finish() const {
    if (!fault.empty()) return fail(errc::invalid_argument, fault);
    if (table)
      for (const auto& [key, node] : *table)
        if (const std::string name(key.str()); !known.count(name))
          return fail(errc::invalid_argument,
                      fmt::format("{}: {}: unknown key; {}", where(&node), one_line(name), remedy(name, known)));
    for (const auto& [key, list] : children)
      for (const auto& one : list)
        if (status s = one->finish(); !s) return s;
    return {};
  }
};

result<settings> settings::from_text(const std::string& text, const std::string& name) {
  settings made;
  made.impl_ = std::make_shared<impl>();
  try {
    made.impl_->file = std::make_shared<const document>(document{name, toml::parse(text, name)});
  } catch (const toml::parse_error& e) {
    return fail(errc::malformed,
                fmt::format("{}:{}: {}", name, e.source().begin.line, one_line(std::string(e.description()))));
  } catch (const std::exception& e) {
    return fail(errc::malformed, fmt::format("{}: {}", name, e.what()));
  }
  made.impl_->table = &made.impl_->file->root;
  return made;
}

result<settings> settings::from_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file)
    return fail(errc::io,
                fmt::format("{}: cannot be opened ({}); name a readable TOML file", path, std::strerror(errno)));
  std::string text;
  char block[4096];
  constexpr std::size_t most = std::size_t{1} << 20;
  while (const std::size_t got = std::fread(block, 1, sizeof block, file.get())) {
    text.append(block, got);
    if (text.size() > most)
      return fail(errc::invalid_argument, fmt::format("{}: more than {} bytes; this is no settings file", path, most));
  }
  if (std::ferror(file.get()))
    return fail(errc::io, fmt::format("{}: cannot be read; name a readable TOML file", path));
  return from_text(text, path);
}

std::string settings::get(const std::string& key, const std::string& otherwise) const {
  const auto found = impl_->value<std::string>(key, "text in quotes");
  if (!found || std::ranges::none_of(*found, is_control)) return found.value_or(otherwise);
  return impl_->wrong(key, *impl_->find(key), "text on one line, without control characters"), otherwise;
}

std::string settings::get(const std::string& key, const char* otherwise) const {
  return get(key, std::string(otherwise));
}

bool settings::get(const std::string& key, bool otherwise) const {
  return impl_->value<bool>(key, "true or false").value_or(otherwise);
}

double settings::get(const std::string& key, double otherwise, double least, double most) const {
  const toml::node* node = impl_->find(key);
  if (!node) return otherwise;
  const std::string expected = fmt::format("a number from {} to {}", least, most);
  if (!node->is_number()) return impl_->wrong(key, *node, expected), otherwise;
  const double found = *node->value<double>();
  if (std::isfinite(found) && found >= least && found <= most) return found;
  return impl_->wrong(key, *node, fmt::format("{}, not {}", expected, found)), otherwise;
}

std::uint64_t settings::get(const std::string& key, std::uint64_t otherwise, std::uint64_t least,
                            std::uint64_t most) const {
  const toml::node* node = impl_->find(key);
  if (!node) return otherwise;
  const std::string expected = fmt::format("a whole number from {} to {}", least, most);
  const auto found = node->value_exact<std::int64_t>();
  if (!found) return impl_->wrong(key, *node, expected), otherwise;
  if (*found >= 0 && static_cast<std::uint64_t>(*found) >= least && static_cast<std::uint64_t>(*found) <= most)
    return static_cast<std::uint64_t>(*found);
  return impl_->wrong(key, *node, fmt::format("{}, not {}", expected, *found)), otherwise;
}

bool settings::has(const std::string& key) const { return impl_->find(key) != nullptr; }

settings settings::table(const std::string& key) const {
  const toml::node* node = impl_->find(key);
  const toml::table* found = node ? node->as_table() : nullptr;
  if (node && !found) impl_->wrong(key, *node, fmt::format("a table: [{}]", impl_->child(key, nullptr)->path));
  auto& cached = impl_->children[key];
  if (cached.empty()) cached.push_back(impl_->child(key, found));
  settings made;
  made.impl_ = cached.front();
  return made;
}

std::vector<settings> settings::tables(const std::string& key) const {
  const toml::node* node = impl_->find(key);
  const toml::array* rows = node ? node->as_array() : nullptr;
  if (node && (!rows || !rows->is_homogeneous<toml::table>()) && !(rows && rows->empty())) {
    impl_->wrong(key, *node, fmt::format("a list of tables: [[{}]]", impl_->child(key, nullptr)->path));
    return {};
  }
  auto& cached = impl_->children[key];
  if (cached.empty() && rows)
    for (const toml::node& row : *rows)
      cached.push_back(impl_->child(key, row.as_table(), fmt::format("[{}]", cached.size())));
  std::vector<settings> made(cached.size());
  for (std::size_t i = 0; i < made.size(); ++i) made[i].impl_ = cached[i];
  return made;
}

std::string settings::where() const { return impl_->where(nullptr); }

status settings::finish() const { return impl_->finish(); }

}  // namespace ballast
