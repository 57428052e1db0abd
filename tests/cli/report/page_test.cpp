// The page as text: complete, loading nothing, and deaf to what names try to smuggle in.
#include "cli/report/page.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "tests/cli/report/small_views.hpp"

namespace ballast::report {
namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

const std::string& small() {
  static const auto page = page_of(small_page());
  return page;
}

TEST(report_page, loads_nothing_from_anywhere) {
  const std::regex loads(
      R"re((src|href|srcset|action|poster)\s*=\s*["']?\s*(https?:|//)|url\(|@import|<link|<iframe|<img|fetch\(|XMLHttpRequest|WebSocket)re");
  std::smatch found;
  EXPECT_FALSE(std::regex_search(small(), found, loads)) << found.str();
  EXPECT_NE(small().find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(small().find("unsafe-inline"), std::string::npos);
}

TEST(report_page, is_complete) {
  EXPECT_EQ(count(small(), "{{"), 0u);
  EXPECT_TRUE(small().starts_with("<!doctype html>"));
  EXPECT_NE(small().find("<title>Expert load report: small-drift</title>"), std::string::npos);
  EXPECT_NE(small().find("d3js.org/d3-scale/"), std::string::npos) << "the library and who wrote it";
  EXPECT_NE(small().find("Redistributions in binary form"), std::string::npos) << "its licence";
  EXPECT_EQ(small(), page_of(small_page()));
}

TEST(report_page, names_cannot_leave_their_place) {
  const std::string evil = "</script><img src=x onerror=alert(1)>\"'&<!--\xe2\x80\xa8{{data}}";
  auto data = small_page();
  data.sources[0].model = data.sources[0].file = evil;
  data.views[1].name = evil;
  const auto page = page_of(data);
  EXPECT_EQ(count(page, "</script>"), count(small(), "</script>"));
  EXPECT_EQ(count(page, "<img"), 0u);
  EXPECT_EQ(count(page, "<!--"), count(small(), "<!--"));
  EXPECT_NE(page.find("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;"), std::string::npos);
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const auto begin = page.find(open) + open.size();
  const auto read = nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(read["sources"][0]["model"], evil) << "escaped, not lost";
}

TEST(report_page, bytes_that_are_no_text_are_replaced) {
  auto data = small_page();
  data.sources[0].model = "\xff\xfe";
  EXPECT_NE(page_of(data).find("\"model\":\"\xef\xbf\xbd"), std::string::npos);
}

TEST(report_page, only_its_own_scripts_run) {
  std::smatch nonce;
  ASSERT_TRUE(std::regex_search(small(), nonce, std::regex("script-src 'nonce-([0-9a-f]{32})'")));
  EXPECT_EQ(count(small(), "<script nonce=\"" + nonce[1].str() + "\">"), 2u);
  auto other = small_page();
  other.sources[0].model = "another";
  EXPECT_EQ(page_of(other).find(nonce[1].str()), std::string::npos) << "who writes the name does not know it";
}

}  // namespace
}  // namespace ballast::report
