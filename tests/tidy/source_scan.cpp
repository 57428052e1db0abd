// The lexical part: blanking comments and literals, and finding function bodies by their braces.
#include <algorithm>
#include <cctype>
#include <regex>

#include "tests/tidy/source_tree.hpp"

namespace ballast::tidy {
namespace {

// Blanks [from, to) but keeps line ends.
void blank(std::string& text, std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to && i < text.size(); ++i) {
    if (text[i] != '\n') text[i] = ' ';
  }
}

std::size_t end_of_raw_string(const std::string& text, std::size_t quote) {
  const auto open = text.find('(', quote);
  if (open == std::string::npos) return text.size();
  const auto close = ")" + text.substr(quote + 1, open - quote - 1) + "\"";
  const auto end = text.find(close, open);
  return end == std::string::npos ? text.size() : end + close.size();
}

std::size_t end_of_literal(const std::string& text, std::size_t quote) {
  std::size_t i = quote + 1;
  while (i < text.size() && text[i] != text[quote] && text[i] != '\n') i += text[i] == '\\' ? 2 : 1;
  return std::min(i + 1, text.size());
}

bool is_digit_separator(const std::string& text, std::size_t at) {
  return at > 0 && std::isxdigit(static_cast<unsigned char>(text[at - 1])) != 0 && at + 1 < text.size() &&
         std::isxdigit(static_cast<unsigned char>(text[at + 1])) != 0;
}

}  // namespace

std::string blank_comments_and_strings(const std::string& text) {
  std::string out = text;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    if (text.compare(i, 2, "//") == 0) {
      end = std::min(text.find('\n', i), text.size());
      blank(out, i, end);
    } else if (text.compare(i, 2, "/*") == 0) {
      const auto close = text.find("*/", i + 2);
      end = close == std::string::npos ? text.size() : close + 2;
      blank(out, i, end);
    } else if (text[i] == '"') {
      end = i > 0 && text[i - 1] == 'R' ? end_of_raw_string(text, i) : end_of_literal(text, i);
      blank(out, i + 1, end - 1);
    } else if (text[i] == '\'' && !is_digit_separator(text, i)) {
      end = end_of_literal(text, i);
      blank(out, i + 1, end - 1);
    }
    i = end;
  }
  return out;
}

namespace {

enum class scope { space, type, function, other };

// Walks the braces of blanked text. `statement_` is what was read since the last ';', '{' or '}' of the same level.
class brace_walker {
 public:
  explicit brace_walker(std::string text) : text_(std::move(text)) {}

  std::vector<function_span> walk() {
    for (at_ = 0; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') ++line_;
      if (c == '#' && starts_line()) {
        skip_directive();
      } else if (c == '{') {
        open();
      } else if (c == '}') {
        close();
      } else if (c == ';') {
        statement_.clear();
      } else {
        statement_ += c;
      }
    }
    return std::move(found_);
  }

 private:
  struct block {
    scope kind;
    std::string name, outer_statement;
    std::size_t line;
  };

  bool starts_line() const {
    std::size_t i = at_;
    while (i > 0 && (text_[i - 1] == ' ' || text_[i - 1] == '\t')) --i;
    return i == 0 || text_[i - 1] == '\n';
  }

  void skip_directive() {
    while (at_ < text_.size() && (text_[at_] != '\n' || text_[at_ - 1] == '\\')) {
      if (text_[at_] == '\n') ++line_;
      ++at_;
    }
    if (at_ < text_.size()) ++line_;
  }

  scope classify() const {
    static const std::regex space(R"(\bnamespace\b|^\s*extern\s)");
    static const std::regex type(R"((^|[\s>;])(class|struct|union|enum)\s)");
    const bool nested = !open_.empty() && (open_.back().kind == scope::function || open_.back().kind == scope::other);
    if (nested) return scope::other;
    const auto paren = statement_.find('(');
    if (std::regex_search(statement_, space)) return scope::space;
    if (paren == std::string::npos) return std::regex_search(statement_, type) ? scope::type : scope::other;
    const auto assign = statement_.find('=');
    const bool is_operator = statement_.find("operator") != std::string::npos;
    return assign != std::string::npos && assign < paren && !is_operator ? scope::other : scope::function;
  }

  std::string name() const {
    static const std::regex pattern(R"(([\w~:]+)\s*\()");
    std::smatch match;
    return std::regex_search(statement_, match, pattern) ? match[1].str() : "?";
  }

  void open() {
    open_.push_back({classify(), name(), statement_, line_});
    statement_.clear();
  }

  void close() {
    statement_.clear();
    if (open_.empty()) return;
    const block done = std::move(open_.back());
    open_.pop_back();
    std::size_t next = at_ + 1;
    while (next < text_.size() && std::isspace(static_cast<unsigned char>(text_[next])) != 0) ++next;
    // Members set in braces before a constructor's body: the statement goes on, and the body is still to come.
    const bool goes_on = next < text_.size() && (text_[next] == ',' || text_[next] == '{');
    if (goes_on) statement_ = done.outer_statement;
    if (done.kind == scope::function && !goes_on) found_.push_back({done.name, done.line, line_ - done.line + 1});
  }

  std::string text_, statement_;
  std::size_t at_ = 0, line_ = 1;
  std::vector<block> open_;
  std::vector<function_span> found_;
};

}  // namespace

std::vector<function_span> functions_of(const std::string& text) {
  return brace_walker(blank_comments_and_strings(text)).walk();
}

}  // namespace ballast::tidy
