#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "coordinator/cluster_parts.hpp"
#include "policies/net_benefit.hpp"

namespace ballast::cluster {
namespace {

bool interval_passed(const cluster_state& s, const model_record& m) {
  const auto interval = s.config.step_interval;
  return interval != 0 && s.newest_step / interval > m.decided_at / interval;
}

// The loads have changed so that no shares make up for it: what the window holds of earlier ones would only delay.
bool cannot_wait(const cluster_state& s, const model_record& m) {
  const auto interval = s.config.step_interval;
  return interval != 0 && s.config.early_imbalance > 1 && m.shares_leave > s.config.early_imbalance &&
         s.newest_step >= m.decided_at + interval / 8;
}

void decide(context& c, model_index index, bool early) {
  auto& m = c.s.models[index];
  m.decided_at = c.s.newest_step;
  m.shares_leave = 0;
  if (m.window.steps() == 0) return;
  const auto loads = early ? latest_loads(c.s, m).tokens : m.window.totals();
  const auto now = policies::imbalance(*m.current, loads, infos_of(c.s, c.s.members, index));
  const auto text = fmt::format("model {} at step {}: imbalance mean {:.3f} max {:.3f}{}", m.description.name,
                                c.s.newest_step, now.mean, now.max, early ? " of the latest loads" : "");
  if (now.mean <= c.s.config.imbalance_trigger) return tell(c, "imbalance", text);
  tell(c, "imbalance", text + fmt::format(", over the trigger {:.3f}", c.s.config.imbalance_trigger));
  preview_request p{{}, 0, make_request(c.s, plan_kind::move, {index}, c.s.members, c.s.members), true};
  if (early) plan_for_latest(c.s, p.asked);
  p.asked.benefit = question_of(c.s, m);
  p.for_latest = early;
  c.out.push_back(effect::request_plan{p.asked});
  c.s.previews.push_back(std::move(p));
}

void answer_preview(context& c, const preview_request& asked, const plan& made) {
  rebalance_preview out;
  const auto n = static_cast<double>(made.models.size());
  for (const auto& m : made.models) {
    const auto& d = c.s.models[m.model].description;
    const auto v = weigh(c.s, m);
    if (made.models.size() == 1) out.model = d.name;
    out.imbalance_before += m.imbalance_before / n;
    out.imbalance_after += m.imbalance_after / n;
    out.moves += m.copies;
    out.bytes += m.copies * d.bundle_bytes;
    out.waves += m.waves.size();
    out.pays |= v.pays;
    out.explanation += (out.explanation.empty() ? "" : "; ") + d.name + ": " + v.explanation;
  }
  c.out.push_back(effect::send{asked.peer, asked.id, out});
}

}  // namespace

std::uint64_t copies_on_busiest(const model_plan& m) {
  std::map<seat_id, std::uint64_t> copies;
  for (const auto& w : m.waves)
    for (const auto& t : w.adds) ++copies[t.seat];
  std::uint64_t most = 0;
  for (const auto& [seat, n] : copies) most = std::max(most, n);
  return most;
}

policies::benefit_question question_of(const cluster_state& s, const model_record& m) {
  policies::benefit_question q;
  for (const auto seat : s.members)
    q.step_seconds = std::max(q.step_seconds, s.seats[index_of(seat)].beat.step_ms / 1000);
  q.imbalance_share = s.expert_part.value_or(1);
  q.horizon_steps = s.config.step_interval != 0 ? s.config.step_interval : s.config.window_size;
  q.seconds_per_page = s.page_seconds;
  q.slowdown = s.copy_slowdown;
  q.hysteresis = s.config.min_gain_ratio - 1;
  q.was_paying = m.was_paying;
  return q;
}

verdict weigh(const cluster_state& s, const model_plan& m) {
  auto q = question_of(s, s.models[m.model]);
  q.imbalance_before = m.copies == 0 ? m.imbalance_before : m.imbalance_staying;
  q.imbalance_after = m.imbalance_after;
  q.pages = copies_on_busiest(m);
  const auto answer = policies::net_benefit(q);
  auto text = fmt::format("imbalance {:.3f} -> {:.3f} with {} copies", m.imbalance_before, m.imbalance_after, m.copies);
  if (m.copies != 0 && m.imbalance_staying < m.imbalance_before)
    text += fmt::format(", {:.3f} without", m.imbalance_staying);
  if (m.layers_left != 0) text += fmt::format("; {} layers left as they are", m.layers_left);
  if (m.copies == 0 && s.config.shares_interval_ms != 0)
    return {false, text + "; rebalance skipped: nothing to copy, and shares follow by themselves"};
  return {answer.pays, text + "; " + answer.text};
}

double observed_imbalance(const cluster_state& s, const model_record& m, model_index index) {
  if (s.members.empty() || m.window.counted().empty()) return 0;
  const auto lately = latest_loads(s, m);
  return policies::imbalance_of_ranks(lately.received, infos_of(s, s.members, index)).mean;
}

policies::imbalance_report imbalance_of(const cluster_state& s, const model_record& m, model_index index) {
  if (!m.current || s.members.empty() || m.window.steps() == 0) return {};
  return policies::imbalance(*m.current, m.window.totals(), infos_of(s, s.members, index));
}

void on_load_summary(context& c, const load_summary& l) {
  if (l.model >= c.s.models.size()) return;
  if (!contains(c.s.members, l.seat)) return;
  const auto taken = c.s.models[l.model].window.add(l.seat, l.first_step, l.last_step, l.tokens);
  if (taken != policies::load_window::verdict::taken) return;
  measure_pace(c.s, l);
  record_loads(c, l.model);
}

void look_at_balance(context& c) {
  if (c.s.running || !c.s.queue.empty() || !c.s.previews.empty() || c.s.members.empty()) return;
  for (model_index m = 0; m < c.s.models.size(); ++m) {
    if (!c.s.models[m].current) continue;
    if (interval_passed(c.s, c.s.models[m])) return decide(c, m, false);
    if (cannot_wait(c.s, c.s.models[m])) return decide(c, m, true);
  }
}

void on_preview(context& c, const preview_request& asked, const result<plan>& made) {
  if (!made) {
    if (!asked.decision) c.out.push_back(effect::send{asked.peer, asked.id, refused{made.error()}});
    return tell(c, "decision", "no rebalance: " + made.error().text);
  }
  if (!asked.decision) return answer_preview(c, asked, *made);
  for (const auto& m : made->models) {
    const auto v = weigh(c.s, m);
    const auto& name = c.s.models[m.model].description.name;
    c.s.models[m.model].was_paying = v.pays;
    tell(c, "decision", fmt::format("model {}: {}", name, v.explanation));
    if (!v.pays || c.s.queue.size() >= cluster_state::max_queue) continue;
    order o;
    o.kind = operation_kind::rebalance;
    o.models = {m.model};
    o.for_latest = asked.for_latest;
    o.budget_ms = c.s.config.operation_deadline_ms;
    o.reason = v.explanation;
    enqueue(c, std::move(o));
  }
}

}  // namespace ballast::cluster
