#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "coordinator/plans.hpp"

namespace ballast::cluster {
namespace {

using slot_key = std::tuple<seat_id, std::uint32_t, std::uint32_t>;  // seat, layer, slot -> expert
using named_slots = std::map<slot_key, std::uint32_t>;

named_slots named_by(const placement& p) {
  named_slots out;
  for (std::uint32_t l = 0; l < p.layers.size(); ++l)
    for (std::uint32_t e = 0; e < p.layers[l].size(); ++e)
      for (const auto& r : p.layers[l][e]) out[{r.seat, l, r.slot}] = e;
  return out;
}

std::string at(std::uint32_t layer, seat_id seat, std::uint32_t slot) {
  return fmt::format("layer {} slot {} of seat {}", layer, slot, index_of(seat));
}

bool holds(const placement& p, std::uint32_t layer, std::uint32_t expert, seat_id seat) {
  for (const auto& r : p.layers[layer][expert])
    if (r.seat == seat) return true;
  return false;
}

// `adds` may be staged while tables naming `before` are in use, and `after` names what is then there.
status check_adds(const std::vector<policies::transfer>& adds, const named_slots& before, const placement* sources,
                  const named_slots& after) {
  std::set<slot_key> filled;
  for (const auto& a : adds) {
    const slot_key key{a.seat, a.layer, a.slot};
    if (before.contains(key) || !filled.insert(key).second)
      return fail(errc::invalid_argument, "the plan fills " + at(a.layer, a.seat, a.slot) + ", which is in use");
    const auto named = after.find(key);
    if (named == after.end() || named->second != a.expert)
      return fail(errc::invalid_argument,
                  fmt::format("the plan stages expert {} in {}, but its table does not name it there", a.expert,
                              at(a.layer, a.seat, a.slot)));
    for (const auto s : a.sources)
      if (!sources || !holds(*sources, a.layer, a.expert, s))
        return fail(errc::invalid_argument,
                    fmt::format("the plan reads expert {} of layer {} from seat {}, which does not hold it", a.expert,
                                a.layer, index_of(s)));
  }
  for (const auto& [key, expert] : after) {
    const auto old = before.find(key);
    if ((old == before.end() || old->second != expert) && !filled.contains(key))
      return fail(errc::invalid_argument, fmt::format("a table names expert {} in {}, where nothing is staged", expert,
                                                      at(std::get<1>(key), std::get<0>(key), std::get<2>(key))));
  }
  return {};
}

status check_drops(const std::vector<policies::drop>& drops, const named_slots& before, const named_slots& after) {
  std::set<slot_key> gone;
  for (const auto& d : drops) {
    const slot_key key{d.seat, d.layer, d.slot};
    if (after.contains(key))
      return fail(errc::invalid_argument, "the plan drops " + at(d.layer, d.seat, d.slot) + ", which its table names");
    gone.insert(key);
  }
  for (const auto& [key, expert] : before)
    if (!after.contains(key) && !gone.contains(key))
      return fail(errc::invalid_argument,
                  "the plan forgets " + at(std::get<1>(key), std::get<0>(key), std::get<2>(key)));
  return {};
}

status check_waves(const plan_task& task, const model_plan& m) {
  const auto& p = task.problem;
  const placement* before = &m.table;
  named_slots named = named_by(m.table);
  for (const auto& w : m.waves) {
    if (auto s = policies::validate(w.after, p.layers, p.experts, task.everyone, false); !s) return s;
    const auto next = named_by(w.after);
    if (auto s = check_adds(w.adds, named, before, next); !s) return s;
    if (auto s = check_drops(w.drops, named, next); !s) return s;
    before = &w.after;
    named = next;
  }
  for (const auto& [key, expert] : named)
    if (std::ranges::find(p.seats, std::get<0>(key), &policies::seat_info::seat) == p.seats.end())
      return fail(errc::invalid_argument,
                  fmt::format("the plan ends on seat {}, which is to leave", index_of(std::get<0>(key))));
  return {};
}

// Many times a second: the replicas are compared as they lie, which says all but the shares.
status check_shares(const plan_task& task, const model_plan& m) {
  const auto same = [](const replica& a, const replica& b) { return a.seat == b.seat && a.slot == b.slot; };
  const auto& p = task.problem;
  const auto& wave = m.waves.size() == 1 ? m.waves.front() : policies::wave{};
  if (!m.staged.empty() || !m.dropped.empty() || !wave.adds.empty() || !wave.drops.empty())
    return fail(errc::invalid_argument, "new shares that move experts");
  if (auto s = policies::validate(wave.after, p.layers, p.experts, p.seats, false); !s) return s;
  for (std::size_t l = 0; l < p.layers; ++l)
    for (std::size_t e = 0; e < p.experts; ++e)
      if (!std::ranges::equal(wave.after.layers[l][e], p.current->layers[l][e], same))
        return fail(errc::invalid_argument,
                    fmt::format("new shares of layer {} expert {}, which the table in use places elsewhere", l, e));
  return {};
}

status check_model(const plan_request& request, const plan_task& task, const model_plan& m) {
  const auto& p = task.problem;
  const version_t base = p.current ? p.current->version : 0;
  if (m.base != base)
    return fail(errc::conflict, fmt::format("the plan starts from version {}, in use is {}", m.base, base));
  if (request.kind == plan_kind::shares) return check_shares(task, m);
  if (auto s = policies::validate(m.target, p.layers, p.experts, p.seats); !s) return s;
  if (auto s = policies::validate(m.table, p.layers, p.experts, task.everyone, false); !s) return s;
  if (request.kind == plan_kind::start) return check_adds(m.staged, {}, nullptr, named_by(m.table));
  if (request.kind == plan_kind::repair) return {};  // made by this very code, on halted seats: `validate` has said all
  if (auto s = check_adds(m.staged, named_by(*p.current), &*p.current, named_by(m.table)); !s) return s;
  return check_waves(task, m);
}

}  // namespace

status check_plan(const plan_request& request, const plan& made) {
  if (made.models.size() != request.tasks.size())
    return fail(errc::invalid_argument, "the plan is not for the models asked for");
  for (std::size_t i = 0; i < made.models.size(); ++i)
    if (auto s = check_model(request, request.tasks[i], made.models[i]); !s)
      return fail(s.error().code, fmt::format("model {}: {}", request.tasks[i].problem.model, s.error().text));
  return {};
}

}  // namespace ballast::cluster
