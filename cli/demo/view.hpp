// What the demo shows while it runs: a block that is redrawn on a terminal, lines elsewhere.
#pragma once

#include <chrono>
#include <cstddef>
#include <iosfwd>
#include <string>

#include "cli/load/latency.hpp"
#include "messages/messages.hpp"

namespace ballast {

struct demo_moment {
  double seconds = 0;  // since the demo began
  std::string phase;
  std::uint64_t sent = 0, answered = 0, running = 0, failed = 0;
  latency_figures steps;  // of the last two seconds
  cluster_status cluster;
};

// One thread.
class demo_view {
 public:
  demo_view(std::ostream& out, bool redraw) : out_(out), redraw_(redraw) {}

  void show(const demo_moment& now);                       // lines: at a new phase, and every five seconds
  void note(double seconds, const std::string& sentence);  // stays on the screen

 private:
  void clear();

  std::ostream& out_;
  bool redraw_;
  std::size_t drawn_lines_ = 0;
  std::string phase_;
  double shown_at_ = -1e9;
};

}  // namespace ballast
