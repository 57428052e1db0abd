#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

void refuse(context& c, const std::string& peer, std::uint64_t id, error why) {
  c.out.push_back(effect::send{peer, id, refused{std::move(why)}});
}

// An answer given before is given again: a repeat of a request changes nothing.
bool answered_before(context& c, const std::string& peer, std::uint64_t id, const std::string& request) {
  if (request.empty()) return false;
  const auto found = std::ranges::find(c.s.requests, request, &std::pair<std::string, operation_id>::first);
  if (found == c.s.requests.end()) return false;
  note_replay(c, fmt::format("a request that operation {} was the answer to; it is given again", found->second));
  c.out.push_back(effect::send{peer, id, accepted{found->second}});
  return true;
}

void accept(context& c, const std::string& peer, std::uint64_t id, const std::string& request, operation_id operation) {
  if (!request.empty()) {
    c.s.requests.emplace_back(request, operation);
    if (c.s.requests.size() > cluster_state::max_requests) c.s.requests.pop_front();
  }
  c.out.push_back(effect::send{peer, id, accepted{operation}});
}

status check_queue(const cluster_state& s) {
  if (s.queue.size() < cluster_state::max_queue) return {};
  return fail(errc::unavailable, fmt::format("{} operations are waiting already; try again later", s.queue.size()));
}

result<std::vector<model_index>> named_models(const cluster_state& s, const std::string& name) {
  std::vector<model_index> out;
  std::string known;
  for (model_index m = 0; m < s.models.size(); ++m) {
    if (name.empty() || s.models[m].description.name == name) out.push_back(m);
    known += (known.empty() ? "" : ", ") + s.models[m].description.name;
  }
  if (out.empty())
    return fail(errc::not_found,
                fmt::format("there is no model `{}`; models are {}", name, known.empty() ? "none" : known));
  return out;
}

void ask_for_preview(context& c, const std::string& peer, std::uint64_t id, const std::vector<model_index>& models) {
  if (c.s.previews.size() >= cluster_state::max_previews)
    return refuse(c, peer, id, {errc::unavailable, "too many dry runs at once; try again"});
  preview_request p{peer, id, make_request(c.s, plan_kind::move, models, c.s.members, c.s.members), false};
  c.out.push_back(effect::request_plan{p.asked});
  c.s.previews.push_back(std::move(p));
}

void abort_running(context& c, const std::string& peer, std::uint64_t id) {
  auto& op = c.op();
  const operation_id operation = op.what.id;
  if (op.what.kind == operation_kind::replace)
    return refuse(c, peer, id,
                  {errc::conflict, fmt::format("operation {} replaces a lost seat and cannot be aborted", operation)});
  if (op.committed && !op.undoing)
    return refuse(c, peer, id, {errc::conflict, fmt::format("operation {} is past its commit point", operation)});
  const phase p = op.program.front();
  const bool about_to_begin = p == phase::cleaning && !op.undoing;
  const auto r = about_to_begin ? reaction::wave_end : row_of(p).on_abort;
  if (r == reaction::refuse && !op.undoing)
    return refuse(c, peer, id, {errc::conflict, fmt::format("operation {} is about to end", operation)});
  c.out.push_back(effect::send{peer, id, accepted{operation}});
  if (op.undoing || op.stop_after_wave) return;
  apply(c, r, "aborted on request", {});
}

}  // namespace

void on_request(context& c, const std::string& peer, std::uint64_t id, const scale_request& r) {
  if (answered_before(c, peer, id, r.request)) return;
  order o;
  o.kind = operation_kind::scale;
  o.target = r.seats;
  std::ranges::sort(o.target);
  o.ranks = r.ranks;
  o.join_first = r.join_first;
  o.budget_ms = r.deadline_ms == 0 ? c.s.config.operation_deadline_ms : r.deadline_ms;
  o.reason = "asked for";
  if (r.seats.empty() && r.ranks == 0)
    return refuse(c, peer, id,
                  {errc::invalid_argument, "scale to 0 would stop the service; name at least one rank or seat"});
  if (!r.seats.empty() && r.ranks != 0 && r.ranks != r.seats.size())
    return refuse(c, peer, id,
                  {errc::invalid_argument,
                   fmt::format("scale to {} names {} seats; give one or the other", r.ranks, r.seats.size())});
  const auto target = choose_seats(c.s, o);
  if (!target) return refuse(c, peer, id, target.error());
  if (auto ok = fits(c.s, *target); !ok) return refuse(c, peer, id, ok.error());
  if (auto ok = check_queue(c.s); !ok) return refuse(c, peer, id, ok.error());
  accept(c, peer, id, r.request, enqueue(c, std::move(o)));
}

void on_request(context& c, const std::string& peer, std::uint64_t id, const rebalance_request& r) {
  if (answered_before(c, peer, id, r.request)) return;
  const auto models = named_models(c.s, r.model);
  if (!models) return refuse(c, peer, id, models.error());
  if (c.s.members.empty())
    return refuse(c, peer, id,
                  {errc::unavailable, "nothing is served yet, so there is nothing to balance; start agents"});
  if (r.dry_run) return ask_for_preview(c, peer, id, *models);
  for (const auto& waiting : c.s.queue)
    if (waiting.kind == operation_kind::rebalance && waiting.models == *models && waiting.forced == r.force)
      return accept(c, peer, id, r.request, waiting.id);
  if (auto ok = check_queue(c.s); !ok) return refuse(c, peer, id, ok.error());
  order o;
  o.kind = operation_kind::rebalance;
  o.models = *models;
  o.forced = r.force;
  o.budget_ms = c.s.config.operation_deadline_ms;
  o.reason = "asked for";
  accept(c, peer, id, r.request, enqueue(c, std::move(o)));
}

void on_request(context& c, const std::string& peer, std::uint64_t id, const abort_request& r) {
  const bool listed = c.s.running && c.op().what.kind != operation_kind::shares;
  if (listed && c.op().what.id == r.operation) return abort_running(c, peer, id);
  const auto waiting = std::ranges::find(c.s.queue, r.operation, &order::id);
  if (waiting != c.s.queue.end()) {
    const order o = *waiting;
    c.s.queue.erase(waiting);
    close_order(c, o, "aborted", "aborted on request");
    c.out.push_back(effect::send{peer, id, accepted{o.id}});
    return;
  }
  const auto old = std::ranges::find(c.s.history, r.operation, &operation_status::id);
  if (old == c.s.history.end())
    return refuse(c, peer, id, {errc::not_found, fmt::format("there is no operation {}", r.operation)});
  if (old->outcome == "aborted") {
    c.out.push_back(effect::send{peer, id, accepted{old->id}});
    return;
  }
  refuse(c, peer, id, {errc::conflict, fmt::format("operation {} is over: {}", old->id, old->outcome)});
}

}  // namespace ballast::cluster
