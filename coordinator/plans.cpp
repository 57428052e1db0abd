#include "coordinator/plans.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "policies/shares.hpp"

namespace ballast::cluster {
namespace {

using policies::seat_info;
using policies::transfer;

const seat_info* find_seat(const std::vector<seat_info>& seats, seat_id seat) {
  const auto found = std::ranges::find(seats, seat, &seat_info::seat);
  return found == seats.end() ? nullptr : &*found;
}

bool contains(const std::vector<seat_id>& seats, seat_id seat) { return std::ranges::find(seats, seat) != seats.end(); }

// Seats of `table` that hold the expert: same node as the receiver first, then the one that has sent least so far.
std::vector<seat_id> sources_of(const std::vector<replica>& holders, seat_id receiver,
                                const std::vector<seat_info>& seats, std::map<seat_id, std::uint64_t>& sent) {
  const seat_info* to = find_seat(seats, receiver);
  std::vector<std::tuple<bool, std::uint64_t, seat_id>> order;
  for (const auto& r : holders) {
    if (r.seat == receiver) continue;
    const seat_info* from = find_seat(seats, r.seat);
    order.emplace_back(!from || !to || from->node != to->node, sent[r.seat], r.seat);
  }
  std::ranges::sort(order);
  std::vector<seat_id> out;
  for (const auto& [far, load, seat] : order) out.push_back(seat);
  if (!out.empty()) ++sent[out.front()];
  return out;
}

double mean_imbalance(const placement& p, const plan_task& task) {
  std::vector<seat_info> named;  // rank load is averaged over the seats that serve
  std::set<seat_id> used;
  for (const auto& layer : p.layers)
    for (const auto& replicas : layer)
      for (const auto& r : replicas) used.insert(r.seat);
  for (const auto& s : task.everyone)
    if (used.contains(s.seat) || find_seat(task.problem.seats, s.seat)) named.push_back(s);
  return policies::imbalance(p, task.problem.loads, named).mean;
}

// What the policy makes of the problem, with shares solved for its loads.
result<placement> target_of(const plan_request& request, const plan_task& task) {
  auto target = policies::place(request.policy, task.problem);
  if (target && request.solve_shares) return with_solved_shares(std::move(*target), task.problem);
  return target;
}

// Copies that the busiest receiver of a layer gets.
std::uint64_t copies_on_busiest(const layer_placement& from, const layer_placement& to) {
  std::map<seat_id, std::uint64_t> copies;
  std::uint64_t most = 0;
  for (std::size_t e = 0; e < to.size(); ++e)
    for (const auto& r : to[e])
      if (std::ranges::find(from[e], r.seat, &replica::seat) == from[e].end()) most = std::max(most, ++copies[r.seat]);
  return most;
}

bool stays_on(const layer_placement& layer, const std::vector<seat_info>& seats) {
  for (const auto& replicas : layer)
    for (const auto& r : replicas)
      if (!find_seat(seats, r.seat)) return false;
  return true;
}

// Layers whose gain does not pay for their copies keep their replicas; their shares are solved all the same.
// `stay`: the table in use with the shares that it would have.
std::uint32_t leave_what_does_not_pay(const plan_request& request, const plan_task& task, const placement& stay,
                                      placement& target) {
  const auto& p = task.problem;
  const auto& base = *p.current;
  const auto before = policies::imbalance(stay, p.loads, p.seats).layers;
  const auto after = policies::imbalance(target, p.loads, p.seats).layers;
  std::vector<policies::layer_change> changes;
  for (std::size_t l = 0; l < before.size(); ++l)
    changes.push_back({before[l], after[l], copies_on_busiest(base.layers[l], target.layers[l])});
  const auto pays = policies::layers_that_pay(*request.benefit, changes);
  std::uint32_t left = 0;
  for (std::size_t l = 0; l < pays.size(); ++l) {
    if (pays[l] || !stays_on(base.layers[l], p.seats)) continue;
    target.layers[l] = stay.layers[l];
    ++left;
  }
  return left;
}

result<model_plan> plan_start(const plan_request& request, const plan_task& task) {
  auto target = target_of(request, task);
  if (!target) return fail(target.error());
  model_plan out;
  out.table = *target;
  out.target = std::move(*target);
  for (std::uint32_t l = 0; l < out.table.layers.size(); ++l)
    for (std::uint32_t e = 0; e < out.table.layers[l].size(); ++e)
      for (const auto& r : out.table.layers[l][e]) out.staged.push_back({l, e, r.seat, r.slot, {}});
  return out;
}

result<model_plan> plan_move(const plan_request& request, const plan_task& task) {
  auto target = target_of(request, task);
  if (!target) return fail(target.error());
  auto stay = request.solve_shares ? with_solved_shares(*task.problem.current, task.problem) : *task.problem.current;
  if (!stay) return fail(stay.error());
  const auto left = request.benefit ? leave_what_does_not_pay(request, task, *stay, *target) : 0;
  auto waves = policies::plan_waves(*task.problem.current, *target, task.everyone, request.limits);
  if (!waves) return fail(waves.error());
  model_plan out;
  out.table = *task.problem.current;
  out.target = std::move(*target);
  out.waves = std::move(waves->waves);
  out.copies = waves->copies;
  out.layers_left = left;
  out.imbalance_staying = mean_imbalance(*stay, task);
  return out;
}

result<model_plan> plan_repair(const plan_request& request, const plan_task& task) {
  auto out = repair(task);
  if (!out || !request.solve_shares) return out;
  auto solved = with_solved_shares(std::move(out->table), task.problem);
  if (!solved) return fail(solved.error());
  out->target = out->table = std::move(*solved);
  return out;
}

// The table in use with other shares: a wave that adds and drops nothing.
result<model_plan> plan_shares(const plan_task& task) {
  auto solved = with_solved_shares(*task.problem.current, task.problem);
  if (!solved) return fail(solved.error());
  model_plan out;
  out.table = *task.problem.current;
  out.target = std::move(*solved);
  out.waves.push_back({{}, {}, out.target});
  return out;
}

// The base with the joiners' replicas of the target: no replica of it has to leave before the switch.
void add_joiners(const plan_request& request, const plan_task& task, model_plan& out) {
  std::map<seat_id, std::uint64_t> sent;
  for (std::uint32_t l = 0; l < out.table.layers.size(); ++l)
    for (std::uint32_t e = 0; e < out.table.layers[l].size(); ++e) {
      auto& replicas = out.table.layers[l][e];
      const auto base = replicas;
      for (const auto& r : out.target.layers[l][e]) {
        if (!contains(request.joiners, r.seat)) continue;
        out.staged.push_back({l, e, r.seat, r.slot, sources_of(base, r.seat, task.everyone, sent)});
        replicas.push_back(r);
      }
      std::ranges::sort(replicas, {}, &replica::seat);
    }
  even_shares(out.table);
}

result<model_plan> plan_grow(const plan_request& request, const plan_task& task) {
  auto target = target_of(request, task);
  if (!target) return fail(target.error());
  model_plan out;
  out.table = *task.problem.current;
  out.target = std::move(*target);
  if (!request.join_first) add_joiners(request, task, out);
  if (!request.join_first && request.solve_shares) {
    auto solved = with_solved_shares(std::move(out.table), task.problem);
    if (!solved) return fail(solved.error());
    out.table = std::move(*solved);
  }
  auto waves = policies::plan_waves(out.table, out.target, task.everyone, request.limits);
  if (!waves) return fail(waves.error());
  out.waves = std::move(waves->waves);
  out.copies = waves->copies + out.staged.size();
  return out;
}

}  // namespace

result<placement> with_solved_shares(placement p, const policies::placement_problem& problem) {
  auto solved = policies::solve_shares(std::move(p), problem.loads, problem.seats);
  if (!solved) return fail(solved.error());
  return std::move(solved->table);
}

void even_shares(placement& p) {
  for (auto& layer : p.layers)
    for (auto& replicas : layer)
      for (auto& r : replicas) r.share = 1.0 / static_cast<double>(replicas.size());
}

result<plan> make_plan(const plan_request& request) {
  plan out;
  out.id = request.id;
  for (const auto& task : request.tasks) {
    result<model_plan> made;
    if (request.kind != plan_kind::start && !task.problem.current)
      return fail(errc::conflict, fmt::format("model {} has no placement to start from", task.problem.model));
    switch (request.kind) {
      case plan_kind::start:
        made = plan_start(request, task);
        break;
      case plan_kind::move:
        made = plan_move(request, task);
        break;
      case plan_kind::grow:
        made = plan_grow(request, task);
        break;
      case plan_kind::repair:
        made = plan_repair(request, task);
        break;
      case plan_kind::shares:
        made = plan_shares(task);
        break;
    }
    if (!made) return fail(made.error());
    made->model = made->target.model = made->table.model = task.problem.model;
    made->base = task.problem.current ? task.problem.current->version : 0;
    if (request.kind != plan_kind::repair) {
      made->imbalance_before = task.problem.current ? mean_imbalance(*task.problem.current, task) : 0;
      made->imbalance_after = mean_imbalance(made->target, task);
    }
    if (made->copies == 0) made->copies = made->staged.size();
    out.models.push_back(std::move(*made));
  }
  return out;
}

}  // namespace ballast::cluster
