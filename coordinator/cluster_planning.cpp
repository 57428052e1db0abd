#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

std::vector<model_index> all_models(const cluster_state& s) {
  std::vector<model_index> out;
  for (model_index m = 0; m < s.models.size(); ++m) out.push_back(m);
  return out;
}

plan_kind kind_of(const operation& op) {
  if (op.what.kind == operation_kind::replace) return plan_kind::repair;
  if (op.what.kind == operation_kind::rebalance || !op.leavers.empty()) return plan_kind::move;
  return op.old_members.empty() ? plan_kind::start : plan_kind::grow;
}

// Keeps what pays of a rebalance. False: nothing does.
bool keep_what_pays(context& c) {
  auto& op = c.op();
  std::string why;
  std::erase_if(op.made->models, [&](const model_plan& m) {
    if (m.waves.empty()) {
      why = "nothing to move: the placement is as good as the policy can make it";
      return true;
    }
    if (op.what.forced) return false;
    const auto v = weigh(c.s, m);
    if (!v.pays) why = v.explanation;
    return !v.pays;
  });
  if (!op.made->models.empty()) return true;
  op.reason = "nothing moved: " + why;
  return false;
}

// Everybody is halted: from here on the table in use is what is left of it, without what is about to be emptied. Should
// the repair be broken off, the next one starts from what is really there.
void cut_down(context& c, const model_plan& m) {
  for (const auto& d : m.dropped) c.s.unnamed[d.seat].insert({m.model, d.layer, d.slot});
  auto& current = c.s.models[m.model].current;
  current = m.table;
  for (const auto& t : m.staged)
    std::erase_if(current->layers[t.layer][t.expert], [&](const replica& r) { return r.seat == t.seat; });
}

void note_figures(context& c) {
  auto& op = c.op();
  op.report.imbalance_before = op.report.imbalance_predicted = 0;
  const auto n = static_cast<double>(std::max<std::size_t>(1, op.made->models.size()));
  for (const auto& m : op.made->models) {
    op.report.imbalance_before += m.imbalance_before / n;
    op.report.imbalance_predicted += m.imbalance_after / n;
    if (m.imbalance_before > 0) c.s.models[m.model].imbalance_before = m.imbalance_before;
  }
}

bool same_shape(const load_matrix& loads, const policies::placement_problem& p) {
  return loads.size() == p.layers && !loads.empty() && loads.front().size() == p.experts;
}

// Where shares are solved for whatever comes, a layout has to leave them the choice; and as they do most of the work, a
// write saves less and may cost less.
policies::plan_options layout_for_shares(policies::plan_options options) {
  constexpr double part_of_price = 0.03;
  options.write_price *= part_of_price;
  options.price_per_drift *= part_of_price;
  return policies::for_solved_shares(options);
}

// Policies without options plan as they do.
std::optional<policies::plan_options> options_for(const coordinator_config& config, bool solve_shares) {
  auto options = policies::policy_options(config.policy);
  if (!options) return std::nullopt;
  options->threads = config.planner_threads;
  return solve_shares ? layout_for_shares(*options) : *options;
}

}  // namespace

plan_request make_request(cluster_state& s, plan_kind kind, const std::vector<model_index>& models,
                          const std::vector<seat_id>& onto, const std::vector<seat_id>& everyone) {
  plan_request out;
  out.id = ++s.last_plan;
  out.kind = kind;
  out.policy = s.config.policy;
  out.limits.adds_per_seat = s.config.adds_per_seat;
  out.solve_shares = s.config.shares_interval_ms != 0;
  for (const auto m : models) {
    const auto& record = s.models[m];
    plan_task task;
    task.problem.model = m;
    task.problem.layers = record.description.layers;
    task.problem.experts = record.description.experts;
    task.problem.groups = record.description.groups;
    task.problem.redundant = s.config.num_redundant_experts;
    task.problem.seats = infos_of(s, onto, m);
    task.problem.loads = record.window.totals();
    if (kind != plan_kind::shares && kind != plan_kind::repair)
      task.problem.history = {record.window.intervals(), record.window.parts()};
    if (kind == plan_kind::start && record.window.steps() == 0 && s.start &&
        same_shape(s.start->recorded.loads, task.problem)) {
      task.problem.loads = s.start->recorded.loads;
      task.problem.history = s.start->recorded.history;
    }
    task.problem.shares_follow = out.solve_shares;
    task.problem.options = options_for(s.config, out.solve_shares);
    task.problem.target_imbalance = s.config.target_imbalance;
    if (kind != plan_kind::start) task.problem.current = record.current;
    task.everyone = infos_of(s, everyone, m);
    out.tasks.push_back(std::move(task));
  }
  return out;
}

void plan_for_latest(const cluster_state& s, plan_request& asked) {
  for (auto& task : asked.tasks) {
    auto& p = task.problem;
    p.history.intervals.push_back(std::move(p.loads));
    p.history.parts.clear();
    p.loads = latest_loads(s, s.models[p.model]).tokens;
  }
}

void ask_for_plan(context& c) {
  auto& op = c.op();
  const auto kind = kind_of(op);
  if (kind == plan_kind::repair) op.new_members = alive_only(c.s, op.new_members);
  const auto onto = op.what.kind == operation_kind::rebalance ? c.s.members : op.new_members;
  const auto everyone = kind == plan_kind::repair ? onto : joined(onto, c.s.members);
  auto asked = make_request(c.s, kind, op.what.kind == operation_kind::rebalance ? op.what.models : all_models(c.s),
                            onto, everyone);
  asked.operation = op.what.id;
  if (op.what.for_latest) plan_for_latest(c.s, asked);
  if (op.what.kind == operation_kind::rebalance && !op.what.forced)
    asked.benefit = question_of(c.s, c.s.models[asked.tasks.front().problem.model]);
  asked.joiners = op.joiners;
  asked.join_first = op.what.join_first;
  c.out.push_back(effect::request_plan{asked});
  op.asked = std::move(asked);
}

// The loads that the question was asked with are gone too. To balance without any would be guessing; what changes the
// members can do with an even start, and is balanced later.
void ask_again_for_plan(context& c) {
  if (c.op().what.kind == operation_kind::rebalance)
    return undo(c, "the coordinator was started anew while it planned; loads are counted anew");
  ask_for_plan(c);
}

void on_plan(context& c, result<plan> made) {
  auto& op = c.op();
  const auto checked = made ? check_plan(*op.asked, *made) : fail(made.error());
  if (!checked) {
    const std::string why = "the plan was refused: " + checked.error().text;
    if (op.what.kind == operation_kind::replace) return go_out_of_service(c, checked.error().text);
    return undo(c, why);
  }
  op.made = std::move(*made);
  begin_moving(c.s);
  note_figures(c);
  if (op.what.kind == operation_kind::rebalance && !keep_what_pays(c)) return follow(c, {});
  if (op.what.kind == operation_kind::replace)
    for (const auto& m : op.made->models) cut_down(c, m);
  op.model = op.wave = 0;
  while (op.model < op.made->models.size() && op.made->models[op.model].waves.empty()) ++op.model;
  op.program.erase(op.program.begin());
  enter_phase(c);
}

}  // namespace ballast::cluster
