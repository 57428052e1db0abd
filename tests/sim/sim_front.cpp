#include "tests/sim/sim_front.hpp"

#include <algorithm>

#include "tests/sim/sim_rank.hpp"

namespace ballast::sim {
namespace {

constexpr std::uint32_t nowhere = ~std::uint32_t{0};

std::uint32_t agent_of(const session_target& t) { return static_cast<std::uint32_t>(std::stoul(t.front_end)); }

}  // namespace

rank* front::best_rank() const {
  rank* best = nullptr;
  for (auto* r : ports_.ranks())
    if (r->accepts() && (!best || r->sessions() < best->sessions())) best = r;
  return best;
}

model_index front::model_named(const std::string& name) const {
  return static_cast<model_index>(std::ranges::find(models_, name, &model_description::name) - models_.begin());
}

void front::redirect_to(std::vector<session_target> targets) {
  std::erase_if(targets, [&](const session_target& t) { return agent_of(t) == agent_; });
  elsewhere_ = std::move(targets);
}

void front::on_request(const inference_request& r) {
  if (reattach(r)) return;
  if (!best_rank()) {
    if (elsewhere_.empty())
      ports_.to_client(r.id, request_refused{r.id, {errc::unavailable, "no rank of this agent is active"}});
    else
      ports_.to_client(r.id, request_moved{r.id, elsewhere_.front().front_end, r.first_step});
    return;
  }
  start(true, session{r.id, model_named(r.model), r.tokens, r.steps, r.first_step, r.hidden});
}

bool front::reattach(const inference_request& r) {
  const auto found = entries_.find(r.id);
  if (found == entries_.end()) return false;
  entry& e = found->second;
  const std::uint32_t kept_from = e.backlog.empty() ? e.next_step : e.backlog.front().step;
  if (r.first_step < kept_from || r.first_step > e.next_step) {
    forget(r.id);
    return false;
  }
  e.attached = true;
  bool finished = false;
  for (const auto& o : e.backlog) {
    finished = o.last;
    if (o.step >= r.first_step) ports_.to_client(r.id, inference_output{o.id, o.step, o.last, o.hidden});
  }
  e.backlog.clear();
  if (finished) forget(r.id);
  return true;
}

void front::start(bool attached, session s) {
  auto* to = best_rank();
  elsewhere_.clear();
  entries_[s.id] = entry{attached, to, s.next_step, {}};
  to->add(std::move(s));
}

// The rank may send a few more outputs of it; they find no entry.
void front::forget(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  found->second.at->cancel(id);
  entries_.erase(found);
}

void front::on_output(session_output o) {
  const auto found = entries_.find(o.id);
  if (found == entries_.end()) return;
  entry& e = found->second;
  if (o.step != e.next_step) return;  // of a run that the client has started again
  ++e.next_step;
  if (!e.attached) {
    e.backlog.push_back(std::move(o));
    return;
  }
  ports_.to_client(o.id, inference_output{o.id, o.step, o.last, o.hidden});
  if (o.last) forget(o.id);
}

void front::hand_over(std::vector<session> sessions, const std::vector<session_target>& targets,
                      std::function<void()> done) {
  std::erase_if(sessions, [&](const session& s) { return !entries_.contains(s.id); });
  if (sessions.empty()) return done();
  const auto id = next_handover_++;
  leaving_[id] = leaving{std::move(sessions), targets, std::move(done)};
  send_handover(id);
}

void front::send_handover(std::uint64_t id) {
  leaving& batch = leaving_.at(id);
  while (!batch.targets.empty()) {
    const auto to = agent_of(batch.targets.front());
    if (to == agent_ && best_rank()) break;
    if (to == agent_) {
      batch.targets.erase(batch.targets.begin());
      continue;
    }
    session_handover offer{id, {}};
    for (const auto& s : batch.sessions)
      offer.sessions.push_back({s.id, models_[s.model].name, s.tokens, s.steps, s.next_step, s.hidden});
    ports_.to_front(to, std::move(offer));
    return ports_.watch(id);
  }
  const leaving finished = std::move(batch);
  leaving_.erase(id);
  moved(finished, finished.targets.empty() ? nowhere : agent_);
}

void front::on_handover(std::uint32_t from, const session_handover& offer) {
  const bool ok = best_rank() != nullptr;
  for (const auto& s : offer.sessions) {
    if (!ok) break;
    if (entries_.contains(s.id)) continue;  // a repeat, or the client was faster
    start(false, session{s.id, model_named(s.model), s.tokens, s.steps, s.first_step, s.hidden});
  }
  ports_.to_front(from, handover_taken{offer.handover, ok});
}

void front::on_taken(const handover_taken& answer) {
  const auto found = leaving_.find(answer.handover);
  if (found == leaving_.end()) return;
  if (!answer.ok) return late(answer.handover);
  const leaving finished = std::move(found->second);
  leaving_.erase(found);
  moved(finished, agent_of(finished.targets.front()));
}

void front::late(std::uint64_t id) {
  const auto found = leaving_.find(id);
  if (found == leaving_.end() || found->second.targets.empty()) return;
  found->second.targets.erase(found->second.targets.begin());
  send_handover(id);
}

void front::moved(const leaving& batch, std::uint32_t to) {
  for (const auto& s : batch.sessions) {
    const auto found = entries_.find(s.id);
    if (found == entries_.end()) continue;
    const bool attached = found->second.attached;
    forget(s.id);
    if (to == agent_) {
      start(attached, s);
    } else if (to == nowhere) {
      if (attached) ports_.to_client(s.id, request_refused{s.id, {errc::unavailable, "its rank left service"}});
    } else if (attached) {
      ports_.to_client(s.id, request_moved{s.id, std::to_string(to), s.next_step});
    }
  }
  batch.done();
}

void front::lose_ranks() {
  if (best_rank()) elsewhere_.clear();
  for (const auto& [id, e] : entries_)
    if (e.attached) ports_.to_client(id, request_refused{id, {errc::unavailable, "its rank left service"}});
  entries_.clear();
  leaving_.clear();
}

}  // namespace ballast::sim
