#include <algorithm>
#include <cmath>

#include "coordinator/cluster_parts.hpp"

// Everything measured here is damped, and a rank's speed is used in plans only once it has gone well away from the one
// in use: a placement must not follow the noise of a machine.
namespace ballast::cluster {
namespace {

constexpr double damping = 0.1;        // weight of a new measurement
constexpr double speed_margin = 0.05;  // a speed that differs by less from the one in use is noise
constexpr double slowest = 0.25, fastest = 4;

void damp(double& value, double measured) { value = value == 0 ? measured : value + damping * (measured - value); }

// Mean pace of the members, or 0 as long as one was not measured.
double mean_pace(const cluster_state& s, model_index model) {
  double sum = 0;
  for (const auto seat : s.members) {
    const auto& pace = s.seats[index_of(seat)].pace;
    const auto found = pace.find(model);
    if (found == pace.end()) return 0;
    sum += found->second;
  }
  return s.members.empty() ? 0 : sum / static_cast<double>(s.members.size());
}

double mean_step_ms(const cluster_state& s) {
  double sum = 0;
  std::uint32_t n = 0;
  for (const auto seat : s.members)
    if (const double ms = s.seats[index_of(seat)].beat.step_ms; ms > 0) sum += ms, ++n;
  return n == 0 ? 0 : sum / n;
}

}  // namespace

double speed_of(const cluster_state& s, const seat_record& r) {
  return s.config.measured_speeds && r.speed > 0 ? r.speed : r.offer.speed;
}

void measure_pace(cluster_state& s, const load_summary& l) {
  double tokens = 0;
  for (const auto& layer : l.tokens)
    for (const double n : layer) tokens += n;
  if (!(std::isfinite(l.expert_ms) && l.expert_ms > 0) || tokens <= 0) return;
  auto& r = s.seats[index_of(l.seat)];
  damp(r.pace[l.model], tokens / l.expert_ms);
  const double mean = mean_pace(s, l.model);
  if (mean > 0) {
    const double measured = std::clamp(r.pace[l.model] / mean, slowest, fastest);
    if (r.speed == 0 || std::abs(measured / r.speed - 1) > speed_margin) r.speed = measured;
  }
  // Steps go in lockstep, so the part that grows with the imbalance is that of the rank with most to do.
  const double steps_ms = r.beat.step_ms * static_cast<double>(l.last_step - l.first_step + 1);
  if (steps_ms <= 0) return;
  const double part = std::min(1.0, l.expert_ms / steps_ms);
  if (!s.expert_part || part > *s.expert_part) {
    s.expert_part = part;
  } else {
    *s.expert_part += 0.01 * (part - *s.expert_part);
  }
}

void begin_moving(cluster_state& s) {
  auto& op = *s.running;
  op.moving_since_ms = s.now_ms;
  op.quiet_step_ms = mean_step_ms(s);
  op.moving_step_ms = 0;
  op.moving_beats = 0;
}

void measure_beat(cluster_state& s, const seat_beat& beat) {
  if (!s.running || s.running->what.kind != operation_kind::rebalance || !s.running->made || beat.step_ms <= 0) return;
  s.running->moving_step_ms += beat.step_ms;
  ++s.running->moving_beats;
}

// What a copy costs, waves and all, and what it costs the steps beside it: running means over rebalances.
void measure_moves(cluster_state& s, const operation& op) {
  std::uint64_t copies = 0;
  if (op.made)
    for (const auto& m : op.made->models) copies += copies_on_busiest(m);
  if (copies == 0) return;
  const double seconds = static_cast<double>(s.now_ms - op.moving_since_ms) / 1000 / static_cast<double>(copies);
  s.page_seconds = s.page_seconds == 0 ? seconds : 0.7 * s.page_seconds + 0.3 * seconds;
  if (op.moving_beats == 0 || op.quiet_step_ms <= 0) return;
  const double slower = op.moving_step_ms / op.moving_beats / op.quiet_step_ms - 1;
  s.copy_slowdown = 0.7 * s.copy_slowdown + 0.3 * std::clamp(slower, 0.0, 10.0);
}

}  // namespace ballast::cluster
