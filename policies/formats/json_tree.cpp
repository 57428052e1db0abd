#include "policies/formats/json_tree.hpp"

#include <istream>
#include <nlohmann/json.hpp>

namespace ballast::policies {

namespace {

using nlohmann::json;

// Parser events to the tree; the parser calls these names.
class tree_events : public json::json_sax_t {
 public:
  explicit tree_events(byte_source& source) : source_(source) {}

  bool null() override { return tree.other(node::kind_t::null, {}, 0, source_.line()); }
  bool boolean(bool value) override { return tree.other(node::kind_t::boolean, {}, value ? 1 : 0, source_.line()); }
  bool number_integer(number_integer_t value) override { return number(static_cast<double>(value)); }
  bool number_unsigned(number_unsigned_t value) override { return number(static_cast<double>(value)); }
  bool number_float(number_float_t value, const string_t&) override { return number(value); }
  bool string(string_t& value) override { return tree.other(node::kind_t::text, std::move(value), 0, source_.line()); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return tree.begin(node::kind_t::map, source_.line()); }
  bool start_array(std::size_t) override { return tree.begin(node::kind_t::list, source_.line()); }
  bool key(string_t& value) override { return tree.key(std::move(value)); }
  bool end_object() override { return tree.end(); }
  bool end_array() override { return tree.end(); }
  bool parse_error(std::size_t, const std::string& last, const json::exception& what) override {
    last_token = last;
    syntax = what.what();
    return false;
  }

  tree_builder tree;
  std::string syntax, last_token;

 private:
  bool number(double value) {
    // Lines matter for values that are looked at by themselves, not for the cells of a table.
    return tree.number(value, source_.line());
  }
  byte_source& source_;
};

// What the parser says, without its own idea of where it is, on one line of printable characters.
std::string reason(const tree_events& events) {
  const auto& token = events.last_token;
  if (!token.empty() && (token.ends_with("N") || token.ends_with("I") || token.ends_with("-I")))
    return "NaN or Infinity is no number here";
  auto text = events.syntax;
  if (const auto at = text.find("column "); at != std::string::npos) {
    if (const auto colon = text.find(": ", at); colon != std::string::npos) text = text.substr(colon + 2);
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) > '~') c = '?';
  }
  constexpr std::size_t length_max = 120;
  if (text.size() > length_max) text = text.substr(0, length_max) + "...";
  return text;
}

}  // namespace

result<std::optional<node>> next_json(byte_source& source) {
  source.expect_json();
  const int next = source.skip_space();
  if (source.failure()) return fail(*source.failure());
  if (next < 0) return std::optional<node>{};
  const auto begun = source.line();
  tree_events events(source);
  std::istream in(&source);
  const bool good = json::sax_parse(in, &events, json::input_format_t::json, false);
  if (source.failure()) return fail(*source.failure());
  if (good) return std::optional<node>(std::move(events.tree).take());
  const bool cut = events.tree.fault().empty() && source.sgetc() == std::streambuf::traits_type::eof() &&
                   events.syntax.find("unexpected end of input") != std::string::npos;
  if (source.failure()) return fail(*source.failure());
  if (cut) {
    return fail(errc::malformed, source.where(begun) + ": not JSON (what begins here is cut off); take a whole copy");
  }
  const auto at = source.line();
  auto text = source.where(at) + ": not JSON (" + reason(events);
  if (!events.tree.fault().empty()) text = source.where(at) + ": refused (" + events.tree.fault();
  if (at != begun) text += ", in the value that begins in line " + std::to_string(begun);
  return fail(errc::malformed, text + "); take a whole copy of the right file");
}

}  // namespace ballast::policies
