// Messages between agents and the coordinator: lost, late, repeated, overtaken, cut off.
#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {

std::uint64_t world::delay_us() {
  if (sim_.roll.chance(weather_.slow)) return sim_.roll.between(100 * ms, 900 * ms);
  return sim_.roll.between(200, weather_.delay_most_us);
}

// How long what is sent now is kept back.
std::uint64_t world::held_us(const direction& on) {
  if (sim_.now() >= on.cut_until_us) return 0;
  held_until_us_ = std::max(held_until_us_, on.cut_until_us);
  return on.cut_until_us - sim_.now();
}

// Answers that tell of a switch or of a table in use: what they tell of has happened.
bool world::swallowed(const message_body& body) {
  const auto* o = std::get_if<seat_outcome>(&body);
  if (!o || !o->ok || outcomes_to_lose_ == 0 || !state_->running || state_->running->program.empty()) return false;
  const auto p = state_->running->program.front();
  const bool commits = o->switched || p == cluster::phase::wave_publishing || p == cluster::phase::resuming;
  if (commits) --outcomes_to_lose_;
  return commits;
}

void world::to_coordinator(agent& from, message_body body) {
  const bool cut = sim_.now() < from.up.cut_until_us;
  if ((cut && !from.up.keeps) || swallowed(body)) return;
  const auto held = held_us(from.up);
  agent_message m{from.index, from.life, coordinator_life_, std::move(body)};
  for (int copies = sim_.roll.chance(weather_.repeat) ? 2 : 1; copies > 0; --copies) {
    if (sim_.roll.chance(weather_.loss)) continue;
    const auto delay = held + delay_us();
    if (copies == 1)
      sim_.after(delay, [this, m = std::move(m)] { coordinator_takes(m); });
    else
      sim_.after(delay, [this, m] { coordinator_takes(m); });
  }
}

void world::send_to_agent(std::uint32_t index, std::uint64_t life, message_body body) {
  const auto& to = agents_[index].down;
  const bool cut = sim_.now() < to.cut_until_us;
  if (cut && !to.keeps) return;
  const auto held = held_us(to);
  for (int copies = sim_.roll.chance(weather_.repeat) ? 2 : 1; copies > 0; --copies) {
    if (sim_.roll.chance(weather_.loss)) continue;
    const auto delay = held + delay_us();
    if (copies == 1)
      sim_.after(delay, [this, index, life, body = std::move(body)] { to_agent(index, life, body); });
    else
      sim_.after(delay, [this, index, life, body] { to_agent(index, life, body); });
  }
}

}  // namespace ballast::sim
