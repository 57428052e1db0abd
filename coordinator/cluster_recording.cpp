#include <utility>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

void add(load_interval& to, const policies::load_window::bucket& b) {
  if (to.last == 0) to.first = b.first;
  to.last = b.last;
  policies::add_loads(to.tokens, b.tokens);
  for (const auto& [seat, layers] : b.received) {
    auto& row = to.received[seat];
    row.resize(layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l) row[l] += layers[l];
  }
}

std::uint32_t nodes_of(const cluster_state& s) {
  std::set<std::uint32_t> nodes;
  for (const auto seat : s.members) nodes.insert(s.seats[index_of(seat)].node);
  return static_cast<std::uint32_t>(nodes.size());
}

}  // namespace

// Buckets of the window that have begun to count since the last call, put together to intervals. What a seat reports of
// a bucket after that is in no record.
void record_loads(context& c, model_index model) {
  if (c.s.config.record_stats.empty()) return;
  auto& m = c.s.models[model];
  const auto interval =
      c.s.config.record_interval_steps != 0 ? c.s.config.record_interval_steps : c.s.config.load_interval_steps;
  for (const auto& b : m.window.counted()) {
    if (b.last <= m.recorded_to) continue;
    m.recorded_to = b.last;
    add(m.recorded, b);
    const auto before = m.recorded.first == 0 ? 0 : m.recorded.first - 1;
    if (m.recorded.last / interval == before / interval) continue;  // goes on: intervals end at their multiples
    m.recorded.model = model;
    for (const auto& [seat, layers] : m.recorded.received)
      m.recorded.step_ms[seat] = c.s.seats[index_of(seat)].beat.step_ms;
    auto what = std::make_shared<const recorded_interval>(recorded_interval{
        std::exchange(m.recorded, {}), m.description, nodes_of(c.s), c.s.config.num_redundant_experts});
    c.out.emplace_back(std::in_place_type<effect::record_loads>, std::move(what));
  }
}

}  // namespace ballast::cluster
