#include "cli/demo/view.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <ostream>

#include "cli/render/render.hpp"

namespace ballast {
namespace {

constexpr double line_interval_s = 5;

std::string traffic_of(const demo_moment& now) {
  return fmt::format("{} sent, {} answered, {} running, {} failed", now.sent, now.answered, now.running, now.failed);
}

std::string steps_of(const demo_moment& now) {
  return now.steps.count == 0 ? "-" : fmt::format("p50 {:.2f} ms, p99 {:.2f} ms", now.steps.p50, now.steps.p99);
}

std::string imbalance_of(const demo_moment& now) {
  if (now.cluster.models.empty()) return "-";
  const auto& m = now.cluster.models.front();
  return fmt::format("mean {:.3f}, worst layer {:.3f}", m.imbalance_mean, m.imbalance_max);
}

std::string active_of(const demo_moment& now) {
  std::vector<seat_id> active;
  for (const auto& seat : now.cluster.seats) {
    if (seat.state == "active") active.push_back(seat.seat);
  }
  return active.empty() ? "none" : text::seats(active);
}

std::string operation_of(const demo_moment& now) {
  for (const auto& op : now.cluster.operations) {
    if (op.outcome != "running") continue;
    return fmt::format("{} {}, {}{}", op.kind, text::seats(op.target), op.phase,
                       op.awaited.empty() ? "" : fmt::format(", awaits {}", text::seats(op.awaited)));
  }
  return "none";
}

}  // namespace

void demo_view::clear() {
  if (drawn_lines_ != 0) out_ << fmt::format("\x1b[{}A\x1b[J", drawn_lines_);
  drawn_lines_ = 0;
}

void demo_view::note(double seconds, const std::string& sentence) {
  clear();
  out_ << fmt::format("[{:6.1f} s] {}\n", seconds, sentence) << std::flush;
}

void demo_view::show(const demo_moment& now) {
  if (!redraw_) {
    const bool due = now.phase != phase_ || now.seconds - shown_at_ >= line_interval_s;
    if (!due) return;
    phase_ = now.phase;
    shown_at_ = now.seconds;
    out_ << fmt::format("[{:6.1f} s] {}: seats {}; {}; step {}; imbalance {}\n", now.seconds, now.phase, active_of(now),
                        traffic_of(now), steps_of(now), imbalance_of(now))
         << std::flush;
    return;
  }
  clear();
  const std::string block = fmt::format(
      "\n  {:.1f} s  {}\n  active seats  {}\n  operation     {}\n  requests      {}\n  step          {}\n  imbalance   "
      "  {}\n",
      now.seconds, now.phase, active_of(now), operation_of(now), traffic_of(now), steps_of(now), imbalance_of(now));
  drawn_lines_ = static_cast<std::size_t>(std::count(block.begin(), block.end(), '\n'));
  out_ << block << std::flush;
}

}  // namespace ballast
