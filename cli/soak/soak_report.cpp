#include "cli/soak/soak_report.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/render/table.hpp"

namespace ballast {
namespace {

double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::string text_of(const std::vector<growth>& growths) {
  table t({"process", "minutes", "MiB at first", "now", "growth", "descriptors", "threads"});
  for (const auto& g : growths) {
    const bool weighed = g.last.rss_bytes != 0;
    const auto pair = [&](std::uint32_t first, std::uint32_t last) {
      if (!weighed) return std::string("-");
      return g.judged ? fmt::format("{} -> {}", first, last) : fmt::format("{}", last);
    };
    t.row({g.process, fmt::format("{:.1f}", g.minutes), g.judged ? fmt::format("{:.2f}", mib(g.first.rss_bytes)) : "-",
           weighed ? fmt::format("{:.2f}", mib(g.last.rss_bytes)) : "-",
           g.judged ? fmt::format("{:+.2f} %", 100 * g.rss()) : "too young",
           pair(g.first.descriptors, g.last.descriptors), pair(g.first.threads, g.last.threads)});
  }
  return t.text();
}

}  // namespace

std::string text_of(const soak_report& r) {
  std::string out =
      fmt::format("{:.1f} minutes, seed {}: {} answers, {} lost, {} wrong ({} compared with a static rank)\n",
                  r.minutes, r.seed, r.answered, r.lost, r.wrong, r.compared);
  out += fmt::format(
      "{} kills and {} of the coordinator, {} hangs, {} aborts asked for, pages counted {} times\noperations:", r.kills,
      r.coordinator_kills, r.hangs, r.aborts, r.page_checks);
  for (const auto& [what, count] : r.operations) out += fmt::format(" {} {},", count, what);
  out.back() = '\n';
  for (const auto& [why, count] : r.failures) out += fmt::format("failed: {} x {}\n", count, why);
  return out + "\n" + text_of(r.growths) + (r.problem.empty() ? "" : "\nproblem: " + r.problem + "\n");
}

std::string json_of(const soak_report& r) {
  using document = nlohmann::ordered_json;
  document growths = document::array();
  for (const auto& g : r.growths) {
    document weighed = document::array();
    for (const auto& w : g.weighed) weighed.push_back({w.age_s, w.rss_bytes});
    growths.push_back({{"process", g.process},
                       {"minutes", g.minutes},
                       {"judged", g.judged},
                       {"rss_first", g.first.rss_bytes},
                       {"rss_last", g.last.rss_bytes},
                       {"rss_growth", g.judged ? g.rss() : 0},
                       {"descriptors", g.last.descriptors},
                       {"threads", g.last.threads},
                       {"weighed", weighed}});
  }
  return document{{"seed", r.seed},
                  {"minutes", r.minutes},
                  {"answered", r.answered},
                  {"lost", r.lost},
                  {"wrong", r.wrong},
                  {"compared", r.compared},
                  {"kills", r.kills},
                  {"coordinator_kills", r.coordinator_kills},
                  {"hangs", r.hangs},
                  {"aborts", r.aborts},
                  {"page_checks", r.page_checks},
                  {"operations", r.operations},
                  {"failures", r.failures},
                  {"growth", growths},
                  {"problem", r.problem}}
      .dump();
}

}  // namespace ballast
