#include "tests/sim/sim_schedule.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "tests/sim/sim_core.hpp"

namespace ballast::sim {
namespace {

struct habit {
  incident_kind what;
  double chance;             // that a schedule has any
  std::uint64_t times_most;  // if it has
  std::uint64_t least_us, most_us;
};

constexpr std::array faults{
    habit{incident_kind::weather, 0.4, 3, 200 * ms, 2000 * ms},
    habit{incident_kind::agent_dies, 0.55, 6, 0, 0},
    habit{incident_kind::rank_hangs, 0.25, 3, 0, 0},
    habit{incident_kind::link_breaks, 0.3, 6, 0, 0},
    habit{incident_kind::cut_control, 0.4, 4, 50 * ms, 2500 * ms},
    habit{incident_kind::cut_data, 0.35, 4, 50 * ms, 2500 * ms},
    habit{incident_kind::slow_rank, 0.4, 4, 200 * ms, 3000 * ms},
    habit{incident_kind::idle_rank, 0.6, 8, 50 * ms, 2000 * ms},
    habit{incident_kind::slow_disk, 0.1, 3, 100 * ms, 2000 * ms},
    habit{incident_kind::clock_leaps, 0.2, 3, 0, 0},
    habit{incident_kind::clock_stands, 0.2, 3, 50 * ms, 2000 * ms},
    habit{incident_kind::outcomes_lost, 0.3, 4, 0, 0},
    habit{incident_kind::planner_ill, 0.15, 2, 200 * ms, 2000 * ms},
    habit{incident_kind::pulls_fail, 0.25, 2, 200 * ms, 3000 * ms},
    habit{incident_kind::builds_fail, 0.25, 2, 200 * ms, 3000 * ms},
    habit{incident_kind::coordinator_dies, 0.35, 5, 5 * ms, 1500 * ms},
};

coordinator_config draw_config(dice& roll, std::uint64_t seats) {
  coordinator_config c;
  c.heartbeat_ms = 100;
  c.heartbeat_timeout_ms = 600;
  c.command_retry_ms = 150;
  c.operation_deadline_ms = static_cast<std::uint32_t>(roll.between(2, 8) * 1000);
  c.probation_steps = static_cast<std::uint32_t>(roll.between(0, 6));
  c.load_interval_steps = 8;
  c.window_size = 200;
  c.step_interval = roll.chance(0.5) ? static_cast<std::uint32_t>(roll.between(50, 300)) : 0;
  c.num_redundant_experts = static_cast<std::uint32_t>(roll.between(0, 4));
  c.use_async = roll.chance(0.75);
  c.policy = std::string(roll.chance(0.25) ? "economy" : "deepseek");
  c.adds_per_seat = roll.chance(0.5) ? 0 : 1;
  c.auto_replace = roll.chance(0.8);
  c.min_gain_ratio = 0;
  c.shares_interval_ms = roll.chance(0.7) ? static_cast<std::uint32_t>(roll.between(1, 200)) : 0;
  c.shares_window = static_cast<std::uint32_t>(roll.between(1, 40));
  c.shares_tokens = roll.chance(0.5) ? 0 : 200;
  c.shares_gain = roll.chance(0.5) ? 0.0 : 0.02;
  c.early_imbalance = roll.chance(0.5) ? 1.01 : 0;
  c.measured_speeds = roll.chance(0.3);
  c.record_stats = std::string(roll.chance(0.3) ? "recorded" : "");
  c.record_interval_steps = static_cast<std::uint32_t>(roll.between(0, 20));
  c.initial_ranks = static_cast<std::uint32_t>(roll.between(1, roll.chance(0.7) ? 4 : seats));
  return c;
}

std::vector<model_description> draw_models(dice& roll) {
  std::vector<model_description> out;
  const auto n = roll.between(1, 2);
  for (std::uint64_t m = 0; m < n; ++m) {
    model_description d;
    d.name = std::string(m == 0 ? "target" : "draft");
    d.fingerprint = std::string("f");
    d.layers = static_cast<std::uint32_t>(roll.between(1, 3));
    d.experts = static_cast<std::uint32_t>(roll.between(2, 8));
    d.bundle_bytes = 1;
    d.hidden = 1;
    out.push_back(std::move(d));
  }
  return out;
}

hello draw_agent(dice& roll, const std::vector<model_description>& models, std::size_t index, std::uint64_t ranks) {
  hello h;
  h.agent = fmt::format("agent{}", index);
  h.node = fmt::format("node{}", index / 2);
  h.front_end = fmt::format("{}", index);
  h.models = models;
  for (std::uint32_t r = 0; r < ranks; ++r) {
    rank_offer o;
    o.local_rank = r;
    o.page_address = fmt::format("pages{}.{}", index, r);
    o.capacity.max_batch_tokens = 8;
    for (const auto& m : models)
      o.capacity.models.push_back({static_cast<std::uint32_t>(roll.between((m.experts + 2) / 3, m.experts)),
                                   static_cast<std::uint32_t>(roll.between(1, 3))});
    h.ranks.push_back(std::move(o));
  }
  return h;
}

// Most clusters are small: what goes wrong between two ranks goes wrong there too, and many more of them fit into a
// minute.
std::uint64_t draw_seats(dice& roll) {
  const auto size = roll.between(0, 99);
  return size < 90 ? roll.between(2, 12) : size < 97 ? roll.between(13, 24) : roll.between(25, 64);
}

deployment draw_deployment(dice& roll) {
  deployment d;
  const auto seats = draw_seats(roll);
  d.config = draw_config(roll, seats);
  d.models = draw_models(roll);
  const std::uint64_t ranks_most = seats > 12 ? 8 : 2;
  for (std::uint64_t made = 0; made < seats;) {
    const auto ranks = std::min(seats - made, roll.between(1, ranks_most));
    d.agents.push_back(draw_agent(roll, d.models, d.agents.size(), ranks));
    made += ranks;
  }
  d.random_us = roll.between(1500, seats > 12 ? 2500 : 4000) * ms;
  return d;
}

void draw_work(dice& roll, std::uint64_t until, std::vector<incident>& out) {
  for (auto at = roll.between(250, 400) * ms; at < until;
       at += roll.between(5 * ms, roll.chance(0.5) ? 60 * ms : 500 * ms)) {
    const auto what = roll.between(0, 99);
    out.push_back({0, at, 0,
                   what < 40   ? incident_kind::scale
                   : what < 65 ? incident_kind::rebalance
                   : what < 85 ? incident_kind::abort
                               : incident_kind::look,
                   roll.next()});
  }
  if (roll.chance(0.25)) return;
  for (auto n = roll.between(1, 12); n > 0; --n)
    out.push_back({0, roll.between(300 * ms, until), 0, incident_kind::request, roll.next()});
}

void draw_faults(dice& roll, std::uint64_t until, std::vector<incident>& out) {
  if (roll.chance(0.15)) return;
  if (roll.chance(0.75)) out.push_back({0, 0, until, incident_kind::weather, roll.next()});
  for (const auto& h : faults) {
    if (!roll.chance(h.chance)) continue;
    for (auto n = roll.between(1, h.times_most); n > 0; --n)
      out.push_back({0, roll.between(600 * ms, until), roll.between(h.least_us, h.most_us), h.what, roll.next()});
  }
}

}  // namespace

const char* to_string(incident_kind k) noexcept {
  constexpr std::array<const char*, incident_kinds> names{
      "scale",       "rebalance",    "abort",         "look",        "request",    "weather",     "agent dies",
      "rank hangs",  "link breaks",  "cut control",   "cut data",    "slow rank",  "idle rank",   "slow disk",
      "clock leaps", "clock stands", "outcomes lost", "planner ill", "pulls fail", "builds fail", "coordinator dies"};
  return names[static_cast<std::size_t>(k)];
}

schedule draw(std::uint64_t seed) {
  dice roll(seed * 0x2545f4914f6cdd1dULL + 1);
  schedule s;
  s.seed = seed;
  s.where = draw_deployment(roll);
  draw_work(roll, s.where.random_us, s.incidents);
  draw_faults(roll, s.where.random_us, s.incidents);
  std::ranges::stable_sort(s.incidents, {}, &incident::at_us);
  for (std::uint32_t i = 0; i < s.incidents.size(); ++i) s.incidents[i].number = i;
  return s;
}

schedule only(schedule whole, const part& of) {
  if (of.keep)
    std::erase_if(whole.incidents,
                  [&](const incident& i) { return std::ranges::find(*of.keep, i.number) == of.keep->end(); });
  if (of.agents < whole.where.agents.size()) whole.where.agents.resize(of.agents);
  return whole;
}

}  // namespace ballast::sim
