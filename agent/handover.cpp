// The part of the front end that passes a drained rank's sessions on.
#include <fmt/core.h>

#include <algorithm>

#include "agent/front_end.hpp"
#include "messages/log.hpp"

namespace ballast {

void front_end::hand_over(std::vector<session> sessions, const std::vector<session_target>& targets,
                          std::function<void()> done) {
  // Calls `done` when the last batch (and this function) has let go of it.
  const auto finished = std::shared_ptr<std::function<void()>>(new std::function<void()>(std::move(done)), [](auto* f) {
    (*f)();
    delete f;
  });
  std::lock_guard lock(mutex_);
  std::vector<std::vector<session>> batches(std::max<std::size_t>(targets.size(), 1));
  std::size_t next = 0;
  for (auto& s : sessions) {
    const auto found = entries_.find(s.id);
    if (found == entries_.end()) continue;  // cancelled meanwhile
    found->second.moving = true;
    batches[next++ % batches.size()].push_back(std::move(s));
  }
  for (std::size_t b = 0; b < batches.size(); ++b) {
    if (batches[b].empty()) continue;
    leaving batch;
    batch.sessions = std::move(batches[b]);
    batch.targets = targets;
    std::ranges::rotate(batch.targets, batch.targets.begin() + static_cast<std::ptrdiff_t>(targets.empty() ? 0 : b));
    batch.done = finished;
    const auto id = next_handover_++;
    leaving_[id] = std::move(batch);
    send_handover(id);
  }
}

// Lock held. To the first target left; to a rank of this agent without a detour; with no target left the clients are
// told.
void front_end::send_handover(std::uint64_t id) {
  leaving& batch = leaving_.at(id);
  while (!batch.targets.empty()) {
    const std::string& address = batch.targets.front().front_end;
    if (address == address_) {
      if (best_rank() >= 0) break;
      batch.targets.erase(batch.targets.begin());
      continue;
    }
    auto& neighbour = neighbours_[address];
    if (!neighbour) {
      link_options lo;
      lo.address = address;
      lo.name = options_.name;
      auto opened = link::open(context_, lo, [this](const std::string&, envelope m) { on_message("", std::move(m)); });
      if (opened) neighbour = std::move(*opened);
    }
    session_handover offer{id, {}};
    for (const auto& s : batch.sessions)
      offer.sessions.push_back({s.id, options_.models[s.model].name, s.tokens, s.steps, s.next_step, s.hidden});
    batch.deadline = std::chrono::steady_clock::now() + handover_for;
    if (neighbour && neighbour->send("", envelope{id, options_.name, std::move(offer)})) return;
    batch.targets.erase(batch.targets.begin());
  }
  const leaving finished = std::move(batch);
  leaving_.erase(id);
  sessions_moved(finished, finished.targets.empty() ? "" : address_);
}

// Lock held. An agent that starts again has another address: connections kept for ever would be ever more.
std::vector<std::unique_ptr<link>> front_end::take_unused_neighbours() {
  std::vector<std::unique_ptr<link>> unused;
  for (auto at = neighbours_.begin(); at != neighbours_.end();) {
    const bool in_use = std::ranges::any_of(
        leaving_, [&](const auto& batch) { return batch.second.targets.front().front_end == at->first; });
    if (!in_use && at->second) unused.push_back(std::move(at->second));
    at = in_use ? std::next(at) : neighbours_.erase(at);
  }
  return unused;
}

void front_end::on_taken(const handover_taken& answer) {
  leaving finished;  // destroyed after the lock: it may hold the last `done`
  std::lock_guard lock(mutex_);
  const auto found = leaving_.find(answer.handover);
  if (found == leaving_.end()) return;
  if (!answer.ok) {
    found->second.targets.erase(found->second.targets.begin());
    send_handover(answer.handover);
    return;
  }
  finished = std::move(found->second);
  leaving_.erase(found);
  sessions_moved(finished, finished.targets.front().front_end);
}

// Lock held. The sessions now live at `front_end_address`; empty: nowhere, their clients start again where they stand.
void front_end::sessions_moved(const leaving& batch, const std::string& front_end_address) {
  for (const auto& s : batch.sessions) {
    const auto found = entries_.find(s.id);
    if (found == entries_.end()) continue;
    const auto peer = found->second.peer, owner = found->second.owner;
    forget(s.id);
    if (front_end_address == address_) {
      start(peer, owner, s);
    } else if (front_end_address.empty()) {
      send(peer, request_refused{s.id, {errc::unavailable, "its rank left service; send it again to an active agent"}});
    } else {
      send(peer, request_moved{s.id, front_end_address, s.next_step});
    }
  }
}

}  // namespace ballast
