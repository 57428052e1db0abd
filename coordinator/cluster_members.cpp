#include <fmt/core.h>

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

// Recorded loads that the first placement is to be planned from have to be of a model that is served.
status check_start(const cluster_state& s, const hello& h) {
  if (!s.start) return {};
  const auto layers = s.start->recorded.loads.size(), experts = s.start->recorded.loads.front().size();
  std::string shapes;
  for (const auto& m : h.models) {
    if (m.layers == layers && m.experts == experts) return {};
    shapes += fmt::format("{}{} has {} layers of {}", shapes.empty() ? "" : ", ", m.name, m.layers, m.experts);
  }
  return fail(errc::conflict,
              fmt::format("read_stats = {}: {} layers of {} experts, but {}; record this model, or leave "
                          "read_stats out to start evenly",
                          s.start->source, layers, experts, shapes));
}

status check_models(const cluster_state& s, const hello& h) {
  if (h.models.empty() || h.models.size() > max_models)
    return fail(errc::invalid_argument, fmt::format("agent {} offers {} models; between 1 and {} can be served",
                                                    h.agent, h.models.size(), max_models));
  for (const auto& m : h.models)
    if (m.layers == 0 || m.experts == 0 || m.groups == 0 || m.layers > 4096 || m.experts > 65536 ||
        std::uint64_t{m.layers} * m.experts > (1u << 22))
      return fail(errc::invalid_argument,
                  fmt::format("model {} of agent {} has an impossible shape: {} layers of {} experts", m.name, h.agent,
                              m.layers, m.experts));
  if (s.models.empty()) return check_start(s, h);
  if (s.models.size() != h.models.size())
    return fail(errc::conflict, fmt::format("agent {} offers {} models, the deployment serves {}", h.agent,
                                            h.models.size(), s.models.size()));
  for (std::size_t i = 0; i < h.models.size(); ++i) {
    const auto& known = s.models[i].description;
    if (h.models[i] == known) continue;
    return fail(
        errc::conflict,
        fmt::format("agent {}: model {} `{}` ({} layers of {} experts, fingerprint {}) is not the deployment's "
                    "`{}` ({} layers of {}, fingerprint {}); "
                    "give every agent the same [[model]] tables, and a deployment of other models a store of its own",
                    h.agent, i, h.models[i].name, h.models[i].layers, h.models[i].experts, h.models[i].fingerprint,
                    known.name, known.layers, known.experts, known.fingerprint));
  }
  return {};
}

status check_offer(const cluster_state& s, const hello& h, const rank_offer& o) {
  if (o.capacity.models.size() != h.models.size())
    return fail(errc::invalid_argument, fmt::format("rank {} of agent {} gives capacities of {} models, not {}",
                                                    o.local_rank, h.agent, o.capacity.models.size(), h.models.size()));
  for (std::size_t m = 0; m < h.models.size(); ++m) {
    const auto& capacity = o.capacity.models[m];
    if (capacity.slots_per_layer == 0 || capacity.spare_pages == 0 || capacity.slots_per_layer > 65536 ||
        capacity.spare_pages > 65536)
      return fail(
          errc::does_not_fit,
          fmt::format(
              "rank {} of agent {} offers {} slots a layer and {} spare pages of model {}; at least 1 and 1 are needed",
              o.local_rank, h.agent, capacity.slots_per_layer, capacity.spare_pages, h.models[m].name));
  }
  if (o.capacity.max_batch_tokens < s.agreed_batch_tokens)
    return fail(
        errc::does_not_fit,
        fmt::format(
            "rank {} of agent {} takes {} tokens into a step, the deployment agreed on {}; raise its max_batch_tokens",
            o.local_rank, h.agent, o.capacity.max_batch_tokens, s.agreed_batch_tokens));
  if (!(o.speed > 0 && o.speed < 1e6))
    return fail(errc::invalid_argument,
                fmt::format("rank {} of agent {} has no positive speed", o.local_rank, h.agent));
  return {};
}

status check_hello(const cluster_state& s, const hello& h) {
  if (h.agent.empty()) return fail(errc::invalid_argument, "an agent needs a name");
  if (h.ranks.empty() || h.ranks.size() > 256)
    return fail(errc::invalid_argument,
                fmt::format("agent {} offers {} ranks; between 1 and 256 can join", h.agent, h.ranks.size()));
  if (!s.agents.contains(h.agent) && s.agents.size() >= cluster_state::max_agents)
    return fail(errc::does_not_fit, "too many agents");
  if (s.seats.size() + h.ranks.size() > cluster_state::max_seats)
    return fail(errc::does_not_fit, fmt::format("more than {} seats", cluster_state::max_seats));
  if (auto ok = check_models(s, h); !ok) return ok;
  for (const auto& o : h.ranks)
    if (auto ok = check_offer(s, h, o); !ok) return ok;
  return {};
}

std::uint32_t node_index(cluster_state& s, const std::string& node) {
  const auto found = std::ranges::find(s.nodes, node);
  if (found != s.nodes.end()) return static_cast<std::uint32_t>(found - s.nodes.begin());
  s.nodes.push_back(node);
  return static_cast<std::uint32_t>(s.nodes.size() - 1);
}

void take_models(cluster_state& s, const hello& h) {
  if (!s.models.empty()) return;
  for (const auto& m : h.models) s.models.emplace_back(m, s.config.window_size);
  for (const auto& o : h.ranks)
    s.agreed_batch_tokens = s.agreed_batch_tokens == 0 ? o.capacity.max_batch_tokens
                                                       : std::min(s.agreed_batch_tokens, o.capacity.max_batch_tokens);
}

// A seat for the offer: the one that this agent's rank had before, or a new one. Its incarnation is new either way.
void seat_offer(context& c, agent_record& agent, const hello& h, const rank_offer& offer) {
  auto [at, fresh] = agent.seats.try_emplace(offer.local_rank, static_cast<seat_id>(c.s.seats.size()));
  if (fresh) {
    c.s.seats.emplace_back();
    c.s.seats.back().id = at->second;
  }
  auto& r = c.s.seats[index_of(at->second)];
  r.agent = h.agent;
  r.local_rank = offer.local_rank;
  r.node = node_index(c.s, h.node);
  ++r.incarnation;
  r.offer = offer;
  r.heard_ms = c.s.now_ms;
  r.last_sequence = 0;
  r.beat = {};
  r.beat.seat = r.id;
  r.beat.incarnation = r.incarnation;
  r.state = seat_state::idle;
  c.s.unheard.erase(r.id);
  tell(c, "seat",
       fmt::format("seat {} joined: rank {} of agent {} on node {}", index_of(r.id), r.local_rank, r.agent, h.node),
       nullptr, {status_of(c.s, r)});
}

void welcome_agent(context& c, const agent_record& agent, std::uint64_t id) {
  welcome w;
  w.heartbeat_ms = c.s.config.heartbeat_ms;
  w.load_interval_steps = c.s.config.load_interval_steps;
  for (const auto& [rank, seat] : agent.seats)
    if (alive(c.s, seat)) w.seats.push_back({rank, seat, c.s.seats[index_of(seat)].incarnation});
  c.out.push_back(effect::send{agent.peer, id, w});
}

void fence_sender(context& c, const std::string& peer, seat_id seat, incarnation_t up_to, std::uint64_t process = 0) {
  note_replay(c, fmt::format("seat {} says something as incarnation {}, which is gone", index_of(seat), up_to));
  c.out.push_back(effect::send{peer, 0, fence{seat, up_to, process}});
}

std::vector<seat_id> living_seats(const cluster_state& s, const agent_record& agent) {
  std::vector<seat_id> out;
  for (const auto& [rank, seat] : agent.seats)
    if (alive(s, seat)) out.push_back(seat);
  return out;
}

}  // namespace

void on_hello(context& c, const std::string& peer, std::uint64_t id, const hello& h) {
  if (auto ok = check_hello(c.s, h); !ok) {
    log_line(c, "refused: " + ok.error().text, true);
    c.out.push_back(effect::send{peer, id, refused{ok.error()}});
    return;
  }
  take_models(c.s, h);
  const auto known = c.s.agents.find(h.agent);
  if (known != c.s.agents.end()) {
    auto& former = known->second.former;
    // A late message of a process that was replaced; or of the living one, and what replaced it was the late message.
    if (std::ranges::find(former, h.process) != former.end()) {
      for (const auto& [rank, seat] : known->second.seats) {
        const auto now = c.s.seats[index_of(seat)].incarnation;
        fence_sender(c, peer, seat, now == 0 ? 0 : now - 1, h.process);
      }
      return;
    }
    if (known->second.process == h.process && !living_seats(c.s, known->second).empty()) {  // a repeat
      known->second.peer = peer;
      welcome_agent(c, known->second, id);
      return;
    }
    if (known->second.process != h.process) {
      former.push_back(known->second.process);
      if (former.size() > cluster_state::max_former) former.pop_front();
      lose_agent(c, h.agent, "its process was started anew");
    }
  }
  auto& agent = c.s.agents[h.agent];
  agent.node = h.node;
  agent.peer = peer;
  agent.front_end = h.front_end;
  agent.process = h.process;
  agent.closed_ms.reset();
  for (const auto& o : h.ranks) seat_offer(c, agent, h, o);
  welcome_agent(c, agent, id);
  log_line(c, fmt::format("agent {} joined with {} ranks on node {}", h.agent, h.ranks.size(), h.node));
}

void on_heartbeat(context& c, const std::string& peer, const heartbeat& h) {
  const auto found = c.s.agents.find(h.agent);
  const bool current = found != c.s.agents.end() && found->second.process == h.process;
  if (current) {
    found->second.peer = peer;
    found->second.refused = h.refused;
  }
  std::vector<seat_id> hung;
  for (const auto& beat : h.seats) {
    auto* r = find_seat(c.s, beat.seat);
    if (!current || !r || r->agent != h.agent || r->incarnation != beat.incarnation || r->state == seat_state::lost) {
      fence_sender(c, peer, beat.seat, beat.incarnation, h.process);
      continue;
    }
    r->heard_ms = c.s.now_ms;
    r->beat = beat;
    if (c.s.unheard.erase(beat.seat) != 0) repeat_commands(c, beat.seat);
    measure_beat(c.s, beat);
    if (contains(c.s.members, beat.seat)) c.s.newest_step = std::max(c.s.newest_step, beat.step);
    // The process lives. A step that only waits for others breaks off sooner, by itself.
    const auto longest = c.s.config.step_timeout_ms;
    if (longest != 0 && beat.stepping_ms > longest) hung.push_back(beat.seat);
  }
  if (!hung.empty()) lose_seats(c, hung, fmt::format("its step has not ended for {} ms", c.s.config.step_timeout_ms));
}

seat_record* living(context& c, const std::string& peer, seat_id seat, incarnation_t incarnation) {
  auto* r = find_seat(c.s, seat);
  if (r && r->incarnation == incarnation && r->state != seat_state::lost) return r;
  fence_sender(c, peer, seat, incarnation);
  return nullptr;
}

void on_trouble(context& c, const seat_trouble& t) {
  // After a restart: at which step the members are is known when all were heard. Trouble is told with every beat.
  if (std::ranges::any_of(c.s.members, [&](seat_id seat) { return c.s.unheard.contains(seat); })) return;
  const std::string why = fmt::format("seat {}: communicator {} failed: {}", index_of(t.seat), t.epoch, t.failure.text);
  const bool meant = contains(c.s.members, t.seat) || (c.s.running && contains(c.op().new_members, t.seat));
  const bool stepped_on = t.epoch != 0 && t.epoch == c.s.epoch && meant;
  if (!c.s.running) {
    if (stepped_on) recover(c, why);
    return;
  }
  const auto& op = c.op();
  const bool switched_to = op.switch_uncertain && t.epoch == op.epoch;
  if (!stepped_on && !switched_to) return;
  if (c.s.members.empty()) return undo(c, why);  // a first start that did not get far
  apply(c, row_of(op.program.front()).on_trouble, why, {});
}

void look_for_silent_seats(context& c) {
  std::vector<seat_id> silent;
  for (const auto& r : c.s.seats)
    if (r.state != seat_state::lost && c.s.now_ms > r.heard_ms + c.s.config.heartbeat_timeout_ms)
      silent.push_back(r.id);
  if (!silent.empty()) lose_seats(c, silent, fmt::format("no heartbeat for {} ms", c.s.config.heartbeat_timeout_ms));
}

void on_connection(context& c, const std::string& peer, bool open) {
  for (auto& [name, agent] : c.s.agents) {
    if (agent.peer != peer) continue;
    if (open)
      agent.closed_ms.reset();
    else
      agent.closed_ms = c.s.now_ms;
  }
}

void look_for_ended_agents(context& c) {
  std::vector<seat_id> gone;
  for (auto& [name, agent] : c.s.agents) {
    if (!agent.closed_ms || c.s.now_ms < *agent.closed_ms + c.s.config.exit_grace_ms) continue;
    agent.closed_ms.reset();
    std::ranges::copy(living_seats(c.s, agent), std::back_inserter(gone));
  }
  if (!gone.empty()) lose_seats(c, gone, "its process has ended");
}

void lose_agent(context& c, const std::string& agent, const std::string& why) {
  const auto found = c.s.agents.find(agent);
  if (found == c.s.agents.end()) return;
  const auto seats = living_seats(c.s, found->second);
  if (!seats.empty()) lose_seats(c, seats, why);
}

void lose_seats(context& c, const std::vector<seat_id>& seats, const std::string& why) {
  bool stepping = false, joiner = false;
  std::string names;
  for (const auto seat : seats) {
    auto& r = c.s.seats[index_of(seat)];
    const bool switching = c.s.running && c.op().switch_uncertain && contains(c.op().new_members, seat);
    const bool resuming =
        c.s.running && c.op().what.kind == operation_kind::replace && contains(c.op().new_members, seat);
    stepping |= contains(c.s.members, seat) || switching || resuming;
    joiner |= r.state == seat_state::joining;
    r.state = seat_state::lost;
    c.s.unheard.erase(seat);
    c.s.unnamed.erase(seat);
    std::erase(c.s.held, seat);
    names += (names.empty() ? "seat " : ", ") + std::to_string(index_of(seat));
    for (const auto& [name, agent] : c.s.agents)
      c.out.push_back(effect::send{agent.peer, 0, fence{seat, r.incarnation}});
    tell(c, "seat", fmt::format("seat {} is lost: {}", index_of(seat), why), nullptr, {status_of(c.s, r)});
  }
  const std::string reason = names + " lost: " + why;
  log_line(c, reason, true);
  drop_from_rounds(c, seats);
  if (stepping) {
    recover(c, reason);
  } else if (c.s.running && joiner && !c.op().undoing && c.op().what.kind != operation_kind::replace) {
    undo(c, reason);
  } else if (c.s.running && c.op().now.awaited.empty() && c.op().pause_until_ms == 0 &&
             c.op().program.front() != phase::planning) {
    leave_phase(c);
  }
}

}  // namespace ballast::cluster
