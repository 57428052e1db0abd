#include "cli/report/page.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <functional>
#include <map>

namespace ballast::report {
namespace {

std::string title_of(const page_data& data) {
  if (data.sources.empty()) return "Expert load report";
  const auto& first = data.sources.front();
  const auto& name = first.model.empty() ? first.file : first.model;
  return name.empty() ? "Expert load report" : "Expert load report: " + name;
}

// Only scripts and styles that carry it run: markup that came in with a name would not know it, as it depends on the
// name itself.
std::string nonce_of(const std::string& text) {
  const auto hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

// `{{name}}` in the template becomes the part of that name, once: parts are not looked into.
std::string filled(const std::string& pattern, const std::map<std::string, std::function<std::string()>>& parts) {
  std::string out;
  std::size_t at = 0;
  while (true) {
    const auto open = pattern.find("{{", at);
    out.append(pattern, at, open - at);
    if (open == std::string::npos) return out;
    const auto close = pattern.find("}}", open);
    out += parts.at(pattern.substr(open + 2, close - open - 2))();
    at = close + 2;
  }
}

}  // namespace

std::string escaped_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string page_of(const page_data& data) {
  const auto json = json_of(data);
  const auto nonce = nonce_of(json);
  return filled(asset::page_html, {{"title", [&] { return escaped_html(title_of(data)); }},
                                   {"nonce", [&] { return nonce; }},
                                   {"style", [] { return std::string(asset::style_css); }},
                                   {"library", [] { return std::string(asset::library_js); }},
                                   {"script", [] { return std::string(asset::script_js); }},
                                   {"licences", [] { return escaped_html(asset::licences_txt); }},
                                   {"data", [&] { return json; }}});
}

}  // namespace ballast::report
