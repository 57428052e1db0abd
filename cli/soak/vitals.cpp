#include "cli/soak/vitals.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <span>
#include <tuple>
#include <utility>

namespace ballast {
namespace {

template <class T>
T median(std::vector<T> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

// At the first and the last of them, two at least.
std::pair<std::uint64_t, std::uint64_t> ends_of_trend(std::span<const weighing> all) {
  std::vector<double> slopes, heights;
  for (auto a = all.begin(); a != all.end(); ++a)
    for (auto b = a + 1; b != all.end(); ++b)
      slopes.push_back((static_cast<double>(b->rss_bytes) - static_cast<double>(a->rss_bytes)) / (b->age_s - a->age_s));
  const auto slope = median(std::move(slopes));
  for (const auto& w : all) heights.push_back(static_cast<double>(w.rss_bytes) - slope * w.age_s);
  const auto height = median(std::move(heights));
  const auto at = [&](const weighing& w) {
    return static_cast<std::uint64_t>(std::llround(std::max(0.0, height + slope * w.age_s)));
  };
  return {at(all.front()), at(all.back())};
}

}  // namespace

std::optional<vitals> read_vitals(pid_t pid) {
  const auto folder = fmt::format("/proc/{}/", pid);
  std::ifstream memory(folder + "statm");
  std::uint64_t total = 0, resident = 0;
  if (!(memory >> total >> resident)) return std::nullopt;
  vitals v;
  v.rss_bytes = resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto count = [&](const char* what) {
    std::error_code gone;
    std::filesystem::directory_iterator each(folder + what, gone), end;
    std::uint32_t n = 0;
    for (; !gone && each != end; each.increment(gone)) ++n;
    return n;
  };
  v.descriptors = count("fd");
  v.threads = count("task");
  return v;
}

double growth::rss() const {
  if (first.rss_bytes == 0) return 0;
  return static_cast<double>(last.rss_bytes) / static_cast<double>(first.rss_bytes) - 1;
}

void vitals_watch::see(double now_s, const std::string& process, pid_t pid) {
  auto& of = lives_[process];
  if (of.pid != pid) of = {pid, now_s, now_s, {}};
  of.seen_s = now_s;
}

void vitals_watch::note(double now_s, const std::string& process, pid_t pid, const vitals& seen) {
  see(now_s, process, pid);
  auto& of = lives_[process];
  of.samples.push_back({now_s - of.began_s, seen});
}

vitals vitals_watch::typical(const life& of, double from_s, double to_s) {
  std::vector<std::uint64_t> rss;
  vitals out{0, ~0u, ~0u};
  for (const auto& s : of.samples) {
    if (s.age_s < from_s || s.age_s > to_s) continue;
    rss.push_back(s.seen.rss_bytes);
    out.descriptors = std::min(out.descriptors, s.seen.descriptors);
    out.threads = std::min(out.threads, s.seen.threads);
  }
  if (rss.empty()) return {};
  out.rss_bytes = median(rss);
  return out;
}

std::vector<weighing> vitals_watch::weighings(const life& of) const {
  std::vector<weighing> out;
  for (std::size_t from = 0, to = 0; from < of.samples.size(); from = to) {
    const auto start = of.samples[from].age_s;
    while (++to < of.samples.size() && of.samples[to].age_s - of.samples[to - 1].age_s <= limits_.apart_s &&
           of.samples[to].age_s - start < limits_.window_s) {
    }
    const auto end = of.samples[to - 1].age_s;
    out.push_back({(start + end) / 2, typical(of, start, end).rss_bytes});
  }
  return out;
}

std::vector<growth> vitals_watch::growths() const {
  std::vector<growth> out;
  for (const auto& [process, of] : lives_) {
    const double age = of.samples.empty() ? 0 : of.samples.back().age_s;
    growth g;
    g.process = process;
    g.minutes = (of.seen_s - of.began_s) / 60;
    g.weighed = weighings(of);
    g.last = typical(of, std::max(0.0, age - limits_.window_s), age);
    const auto warm = std::ranges::find_if(g.weighed, [&](const auto& w) { return w.age_s >= limits_.warm_up_s; });
    g.judged = g.weighed.end() - warm >= 2 && age >= warm->age_s + 2 * limits_.window_s;
    if (g.judged) {
      g.first = typical(of, limits_.warm_up_s, warm->age_s + limits_.window_s);
      std::tie(g.first.rss_bytes, g.last.rss_bytes) = ends_of_trend({warm, g.weighed.end()});
    }
    out.push_back(g);
  }
  return out;
}

status vitals_watch::verdict() const {
  for (const auto& g : growths()) {
    if (!g.judged) continue;
    if (g.rss() >= limits_.rss)
      return fail(errc::does_not_fit,
                  fmt::format("{} grew by {:.1f} % in {:.0f} minutes, from {:.1f} to {:.1f} MiB", g.process,
                              100 * g.rss(), g.minutes, static_cast<double>(g.first.rss_bytes) / (1 << 20),
                              static_cast<double>(g.last.rss_bytes) / (1 << 20)));
    if (g.last.descriptors > g.first.descriptors + limits_.descriptors)
      return fail(errc::does_not_fit, fmt::format("{} never closes some descriptors: at least {} open, at first {}",
                                                  g.process, g.last.descriptors, g.first.descriptors));
    if (g.last.threads > g.first.threads + limits_.threads)
      return fail(errc::does_not_fit, fmt::format("{} never ends some threads: at least {} run, at first {}", g.process,
                                                  g.last.threads, g.first.threads));
  }
  return {};
}

}  // namespace ballast
