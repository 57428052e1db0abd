// sim_run: runs schedules of the cluster simulator, makes one that fails small, and replays it with its trace.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include "tests/sim/sim_shrink.hpp"

namespace {

using namespace ballast::sim;
using clock_type = std::chrono::steady_clock;

struct settings {
  std::uint64_t first = 1, last = 1;
  std::uint32_t jobs = 1, failures_most = 1, shrink_seconds = 60;
  bug planted = bug::none;
};

double seconds_since(clock_type::time_point begin) {
  return std::chrono::duration<double>(clock_type::now() - begin).count();
}

void print_incidents(const schedule& s) {
  for (const auto& a : s.where.agents) fmt::print("  {}: {} ranks\n", a.agent, a.ranks.size());
  for (const auto& i : s.incidents)
    fmt::print("  [{}] at {:.1f} ms{}: {}\n", i.number, static_cast<double>(i.at_us) / ms,
               i.for_us == 0 ? "" : fmt::format(" for {:.1f} ms", static_cast<double>(i.for_us) / ms),
               to_string(i.what));
}

void report_failure(std::uint64_t seed, const std::string& fault, const settings& how) {
  fmt::print("seed {} FAILED: {}\n", seed, fault);
  std::fflush(stdout);
  const auto small = shrink(seed, how.planted, 2000, std::chrono::seconds(how.shrink_seconds));
  for (const auto& line : small.result.lines) fmt::print("{}\n", line);
  fmt::print("made small in {} runs: {}\n", small.tried, small.result.fault);
  print_incidents(only(draw(seed), small.left));
  fmt::print("replay: sim_run {} --verbose\n", arguments_of(seed, small.left, how.planted));
  std::fflush(stdout);
}

// Seeds are given out one by one to all threads.
class sweep {
 public:
  explicit sweep(const settings& how) : how_(how), next_(how.first) {}

  // False: some schedule failed.
  bool run() {
    {
      std::vector<std::jthread> threads;
      for (std::uint32_t j = 0; j < how_.jobs; ++j) threads.emplace_back([this] { work(); });
      watch();
    }
    for (const auto& [seed, fault] : failed_) report_failure(seed, fault, how_);
    print_total();
    return failed_.empty();
  }

 private:
  bool over() const { return next_.load() > how_.last || failures_.load() >= how_.failures_most; }

  void work() {
    while (failures_.load() < how_.failures_most) {
      const auto seed = next_.fetch_add(1);
      if (seed > how_.last) break;
      const auto o = run_schedule(draw(seed), false, how_.planted);
      std::lock_guard lock(mutex_);
      ++done_;
      sum_.events += o.events;
      sum_.steps += o.steps;
      sum_.operations += o.operations;
      sum_.losses += o.losses;
      sum_.share_updates += o.share_updates;
      sum_.answers += o.answers;
      sum_.deaths += o.deaths;
      if (!o.ok) failed_.emplace_back(seed, o.fault), ++failures_;
    }
    std::lock_guard lock(mutex_);
    if (++finished_ == how_.jobs) all_done_.notify_all();
  }

  void watch() {
    std::unique_lock lock(mutex_);
    while (!all_done_.wait_for(lock, std::chrono::seconds(10), [&] { return finished_ == how_.jobs; })) {
      fmt::print(stderr, "{} of {} schedules hold, {:.0f} schedules/s\n", done_ - failed_.size(),
                 how_.last - how_.first + 1, static_cast<double>(done_) / seconds_since(begin_));
    }
  }

  void print_total() const {
    const double seconds = seconds_since(begin_);
    fmt::print(
        "{} schedules, {} failed, {} events, {} steps, {} operations, {} share updates, {} losses, {} answers, {} "
        "deaths "
        "of the coordinator in {:.1f} s ({:.0f} schedules/s)\n",
        done_, failed_.size(), sum_.events, sum_.steps, sum_.operations, sum_.share_updates, sum_.losses, sum_.answers,
        sum_.deaths, seconds, static_cast<double>(done_) / seconds);
  }

  const settings how_;
  const clock_type::time_point begin_ = clock_type::now();
  std::atomic<std::uint64_t> next_;
  std::atomic<std::uint32_t> failures_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
  std::uint32_t finished_ = 0;
  std::uint64_t done_ = 0;
  outcome sum_;
  std::vector<std::pair<std::uint64_t, std::string>> failed_;
};

int replay(std::uint64_t seed, const part& of, bug planted, bool verbose) {
  const auto what = only(draw(seed), of);
  const auto o = run_schedule(what, true, planted);
  if (verbose || !o.ok) {
    for (const auto& line : o.lines) fmt::print("{}\n", line);
    print_incidents(what);
  }
  fmt::print("seed {}: {}\n", seed, o.ok ? "holds" : "FAILED: " + o.fault);
  return o.ok ? 0 : 1;
}

part part_of(const std::string& keep, std::size_t agents) {
  part p;
  if (agents != 0) p.agents = agents;
  if (keep.empty()) return p;
  p.keep.emplace();
  if (keep == "none") return p;
  for (std::size_t from = 0; from < keep.size();) {
    std::size_t used = 0;
    p.keep->push_back(static_cast<std::uint32_t>(std::stoul(keep.substr(from), &used)));
    from += used + 1;
  }
  return p;
}

int fault(const std::string& text) {
  fmt::print(stderr, "sim_run: {}\n", text);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs seeded schedules of the whole cluster in virtual time"};
  settings how;
  std::uint64_t seed = 0;
  std::string range, keep, bug_name;
  std::size_t agents = 0;
  bool verbose = false, list_bugs = false, shrinks = false;
  how.jobs = std::max(1u, std::thread::hardware_concurrency());
  app.add_option("--seed", seed, "replay one schedule");
  app.add_option("--keep", keep, "only these incidents of it: 3,17,20, or none");
  app.add_option("--agents", agents, "only its first so many agents");
  app.add_flag("--shrink", shrinks, "make it small if it fails");
  app.add_flag("--verbose", verbose, "print its trace although it holds");
  app.add_option("--seeds", range, "run many: A..B, both included");
  app.add_option("--jobs", how.jobs, "threads; default: all cores");
  app.add_option("--failures", how.failures_most, "stop after so many failing seeds");
  app.add_option("--shrink-seconds", how.shrink_seconds, "most time for making one small");
  app.add_option("--bug", bug_name, "put a bug back; see --list-bugs");
  app.add_flag("--list-bugs", list_bugs, "the bugs that can be put back");
  CLI11_PARSE(app, argc, argv);

  if (list_bugs) {
    for (const auto& b : bugs) fmt::print("{}\n", b.name);
    return 0;
  }
  if (!bug_name.empty()) {
    const auto found = find_bug(bug_name);
    if (!found) return fault(fmt::format("there is no bug `{}`; see --list-bugs", bug_name));
    how.planted = *found;
  }
  if (range.empty()) {
    if (!shrinks) return replay(seed, part_of(keep, agents), how.planted, verbose);
    how.first = how.last = seed;
    return sweep(how).run() ? 0 : 1;
  }
  const auto dots = range.find("..");
  if (dots == std::string::npos) return fault(fmt::format("--seeds wants A..B, not `{}`", range));
  how.first = std::stoull(range.substr(0, dots));
  how.last = std::stoull(range.substr(dots + 2));
  how.jobs = std::max(1u, how.jobs);
  return sweep(how).run() ? 0 : 1;
}
