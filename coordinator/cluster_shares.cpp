#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "coordinator/cluster_parts.hpp"

// Shares of the replicas in use, solved anew for the latest loads: nothing moves, a table of the same replicas is
// published. The planner works them out beside everything else; publishing them is an operation of one phase, so that
// loss, repeats and deadlines are those of every publish. It waits for nobody: while an operation runs or waits its
// turn there are none, and the first look after it makes up for that.
namespace ballast::cluster {
namespace {

bool has_choice(const placement& table) {
  for (const auto& layer : table.layers)
    for (const auto& replicas : layer)
      if (replicas.size() > 1) return true;
  return false;
}

bool due(const cluster_state& s, const model_record& m) {
  return m.current && s.now_ms >= m.shares_looked_ms + s.config.shares_interval_ms && !m.window.counted().empty() &&
         m.window.last_step() != m.shares_solved_for && has_choice(*m.current);
}

constexpr unsigned longest_scale = 6;

// The imbalance that a perfect placement would seem to have in so many tokens, by chance alone: loads of ranks are
// Poisson numbers, the busiest of R of them lies sqrt(2 ln R) deviations over the mean. Mean over layers.
double chance_imbalance(const load_matrix& loads, std::size_t ranks) {
  const double r = static_cast<double>(ranks);
  double sum = 0;
  for (const auto& layer : loads) {
    const double tokens = std::accumulate(layer.begin(), layer.end(), 0.0);
    if (tokens > 0) sum += std::sqrt(2 * std::log(r) * r / tokens);
  }
  return loads.empty() ? 0 : sum / static_cast<double>(loads.size());
}

void ask_for_shares(context& c, model_index index) {
  auto& m = c.s.models[index];
  m.shares_looked_ms = c.s.now_ms;
  m.shares_solved_for = m.window.last_step();
  auto asked = make_request(c.s, plan_kind::shares, {index}, c.s.members, c.s.members);
  // Great changes show in a few tokens, small ones only in many: every second look is at the newest loads, every second
  // one of the others at twice as many, and so on.
  const auto scale = std::min(longest_scale, static_cast<unsigned>(std::countr_zero(++m.shares_looks)));
  asked.tasks.front().problem.loads = latest_loads(c.s, m, scale).tokens;
  c.out.push_back(effect::request_plan{asked});
  c.s.shares_asked = std::move(asked);
}

// Only for the table and the members that they were solved for.
bool still_fits(const cluster_state& s, const plan_request& asked) {
  const auto& problem = asked.tasks.front().problem;
  const auto& current = s.models[problem.model].current;
  return !s.running && s.queue.empty() && current && current->version == problem.current->version &&
         std::ranges::equal(problem.seats, s.members, {}, &policies::seat_info::seat);
}

void begin_update(context& c, plan_request asked, plan made) {
  operation op;
  op.what.id = share_operation;
  op.what.kind = operation_kind::shares;
  op.what.models = {made.models.front().model};
  op.what.budget_ms = c.s.config.operation_deadline_ms;
  op.began_ms = c.s.now_ms;
  op.deadline_ms = c.s.now_ms + op.what.budget_ms;
  op.old_members = op.new_members = c.s.members;
  op.old_epoch = c.s.epoch;
  op.report = report_of(c.s, op.what);
  op.asked = std::move(asked);
  op.made = std::move(made);
  c.s.running = std::move(op);
  follow(c, to_program(program::shares));
}

}  // namespace

policies::load_window::bucket latest_loads(const cluster_state& s, const model_record& m, unsigned scale) {
  const auto times = std::uint64_t{1} << scale;
  return m.window.recent(s.config.shares_window * times, s.config.shares_tokens * static_cast<double>(times));
}

void look_at_shares(context& c) {
  if (c.s.config.shares_interval_ms == 0 || c.s.running || !c.s.queue.empty() || c.s.members.empty()) return;
  if (c.s.shares_asked) return;
  for (std::size_t i = 0; i < c.s.models.size(); ++i) {  // in turn, so that a busy model leaves room for the others
    const auto index = static_cast<model_index>((c.s.shares_turn + i) % c.s.models.size());
    if (!due(c.s, c.s.models[index])) continue;
    c.s.shares_turn = index + 1;
    return ask_for_shares(c, index);
  }
}

void on_shares(context& c, const result<plan>& made) {
  const plan_request asked = std::move(*c.s.shares_asked);
  c.s.shares_asked.reset();
  auto& m = c.s.models[asked.tasks.front().problem.model];
  if (!still_fits(c.s, asked)) return;
  const auto checked = made ? check_plan(asked, *made) : fail(made.error());
  if (!checked) {
    ++m.share_skips;
    return log_line(c, fmt::format("model {}: no new shares: {}", m.description.name, checked.error().text), true);
  }
  const auto& update = made->models.front();
  m.shares_leave = update.imbalance_after;
  const double chance = chance_imbalance(asked.tasks.front().problem.loads, c.s.members.size());
  if (update.imbalance_before - update.imbalance_after <= std::max(c.s.config.shares_gain, chance)) {
    ++m.share_skips;
    return;
  }
  ++m.share_updates;
  m.imbalance_shares = update.imbalance_after;
  begin_update(c, asked, *made);
}

}  // namespace ballast::cluster
