// What a process holds, read from /proc, and whether that grows.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast {

struct vitals {
  std::uint64_t rss_bytes = 0;
  std::uint32_t descriptors = 0, threads = 0;
};
std::optional<vitals> read_vitals(pid_t pid);  // none: no such process

// Samples that lie close together, as one: the median of memory.
struct weighing {
  double age_s = 0;
  std::uint64_t rss_bytes = 0;
};

// Over one process's life, from its first sample after the warm-up to its last. Memory swings both ways by more than a
// slow leak adds between two looks, so `first` and `last` are the ends of the line through all weighings by the
// Theil-Sen estimator (Sen 1968: the median of the slopes of all pairs), which a look that stands out does not bend. Of
// what is opened and closed again it is the least of a window at either end, which a leak lifts for good.
struct growth {
  std::string process;
  double minutes = 0;   // that it lived
  bool judged = false;  // it lived long enough
  vitals first, last;
  std::vector<weighing> weighed;  // all, the warm-up's, too
  double rss() const;             // part by which it grew: 0.02 is 2 %
};

struct growth_limits {
  double warm_up_s = 300, window_s = 60, apart_s = 10;  // of a weighing: how long at most, how far apart its samples
  double rss = 0.02;                                    // must stay below
  std::uint32_t descriptors = 2, threads = 1;           // more than at first
};

// One thread. Keeps one sample of each look: 24 bytes a process and second.
class vitals_watch {
 public:
  explicit vitals_watch(growth_limits limits = {}) : limits_(limits) {}
  // That it lives. A process that has another pid than at the last look begins anew.
  void see(double now_s, const std::string& process, pid_t pid);
  void note(double now_s, const std::string& process, pid_t pid, const vitals& seen);
  std::vector<growth> growths() const;  // of the processes as they are now
  // Error: what grew, and by how much.
  status verdict() const;

 private:
  struct sample {
    double age_s = 0;
    vitals seen;
  };
  struct life {
    pid_t pid = 0;
    double began_s = 0, seen_s = 0;
    std::vector<sample> samples;
  };
  std::vector<weighing> weighings(const life& of) const;
  static vitals typical(const life& of, double from_s, double to_s);

  growth_limits limits_;
  std::map<std::string, life> lives_;
};

}  // namespace ballast
