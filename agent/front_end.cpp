#include "agent/front_end.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "messages/log.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;

std::uint64_t output_bytes(const session_output& o) { return o.hidden.size() * sizeof(float); }

// tcp://0.0.0.0:port and the like, as others reach it.
std::string advertised(const std::string& bound, const std::string& host) {
  const auto colon = bound.rfind(':');
  if (host.empty() || !bound.starts_with("tcp://")) return bound;
  return "tcp://" + host + bound.substr(colon);
}

}  // namespace

front_end::front_end(link_context& context, options o, std::vector<rank_port> ranks)
    : context_(context),
      options_(std::move(o)),
      ranks_(std::move(ranks)),
      accepting_(ranks_.size()),
      queued_tokens_(ranks_.size()) {}

front_end::~front_end() { stop(); }

result<std::unique_ptr<front_end>> front_end::open(link_context& context, options o, std::vector<rank_port> ranks) {
  auto self = std::unique_ptr<front_end>(new front_end(context, std::move(o), std::move(ranks)));
  link_options lo;
  lo.kind = link_kind::router;
  lo.address = self->options_.address;
  lo.bind = true;
  lo.name = self->options_.name;
  lo.admits = front_end_admits;
  lo.on_unroutable = [raw = self.get()](const std::string& peer) { raw->on_gone(peer); };
  auto opened = link::open(
      context, lo, [raw = self.get()](const std::string& peer, envelope m) { raw->on_message(peer, std::move(m)); });
  if (!opened) return fail(opened.error());
  self->address_ = advertised((*opened)->address(), self->options_.advertise);
  std::lock_guard lock(self->mutex_);
  self->link_ = std::move(*opened);
  return self;
}

void front_end::stop() {
  std::unique_ptr<link> own;
  std::map<std::string, std::unique_ptr<link>> others;
  {
    std::lock_guard lock(mutex_);
    own.swap(link_);
    others.swap(neighbours_);
  }
  // Outside the lock: the link threads may be waiting for it.
  if (own) own->stop();
  for (auto& [address, other] : others) other->stop();
}

refusal_counts front_end::refusals() const {
  std::lock_guard lock(mutex_);
  return link_ ? refusals_of(link_->counters(), context_) : refusal_counts{};
}

std::size_t front_end::sessions() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

std::size_t front_end::neighbours() const {
  std::lock_guard lock(mutex_);
  return neighbours_.size();
}

void front_end::set_accepting(std::uint32_t local_rank, bool accepting) {
  std::lock_guard lock(mutex_);
  accepting_[local_rank] = accepting;
  if (accepting) elsewhere_.clear();
}

void front_end::redirect_to(std::vector<session_target> targets) {
  // A rank beside the drained one needs no detour, and once it is gone a client would come back here for ever.
  std::erase_if(targets, [&](const session_target& t) { return t.front_end == address_; });
  std::lock_guard lock(mutex_);
  elsewhere_ = std::move(targets);
}

void front_end::send(const std::string& peer, message_body body) {
  if (!link_ || peer.empty()) return;
  // A full queue means a client that does not read: what it misses it asks for again.
  (void)link_->send(peer, envelope{0, options_.name, std::move(body)});
}

void front_end::send_output(const std::string& peer, session_output output) {
  send(peer, inference_output{std::move(output.id), output.step, output.last, std::move(output.hidden)});
}

void front_end::on_message(const std::string& peer, envelope message) {
  if (auto* request = std::get_if<inference_request>(&message.body)) {
    on_request(peer, std::move(*request));
  } else if (const auto* cancel = std::get_if<cancel_request>(&message.body)) {
    std::lock_guard lock(mutex_);
    forget(cancel->id);
  } else if (const auto* offer = std::get_if<session_handover>(&message.body)) {
    on_handover(peer, *offer);
  } else if (const auto* taken = std::get_if<handover_taken>(&message.body)) {
    on_taken(*taken);
  } else {
    std::lock_guard lock(mutex_);
    if (!link_) return;
    const auto text =
        fmt::format("a front end does not take `{}`; send it to the coordinator", message_name(message.body));
    (void)link_->send(peer, envelope{message.id, options_.name, refused{{errc::invalid_argument, text}}});
  }
}

status front_end::admissible(const inference_request& r, model_index& model) const {
  const auto found = std::ranges::find(options_.models, r.model, &served_model::name);
  if (found == options_.models.end())
    return fail(errc::not_found, fmt::format("request `{}`: no model `{}` is served here", r.id, r.model));
  model = static_cast<model_index>(found - options_.models.begin());
  if (r.id.empty()) return fail(errc::invalid_argument, "a request needs an id; draw a unique one");
  if (r.tokens == 0 || r.tokens > options_.max_batch_tokens)
    return fail(errc::does_not_fit,
                fmt::format("request `{}`: {} tokens; send 1 to {}", r.id, r.tokens, options_.max_batch_tokens));
  if (r.steps == 0 || r.first_step >= r.steps)
    return fail(errc::invalid_argument, fmt::format("request `{}`: first_step {} of {} steps; nothing is left to run",
                                                    r.id, r.first_step, r.steps));
  if (r.hidden.size() != std::size_t{r.tokens} * found->hidden)
    return fail(errc::invalid_argument,
                fmt::format("request `{}`: {} values for {} tokens of {}; send {}", r.id, r.hidden.size(), r.tokens,
                            found->hidden, std::size_t{r.tokens} * found->hidden));
  if (!std::ranges::all_of(r.hidden, [](float v) { return std::isfinite(v); }))
    return fail(errc::invalid_argument, fmt::format("request `{}`: a hidden state is not finite", r.id));
  if (bytes_ + bytes_of(r.id, model, r.tokens) > options_.session_bytes)
    return fail(errc::unavailable,
                fmt::format("request `{}`: the session budget of {} bytes is in use; try again or elsewhere", r.id,
                            options_.session_bytes));
  return {};
}

status front_end::within_quota(const std::string& owner, const inference_request& r, model_index model) const {
  const auto held = held_by_.find(owner);
  if (options_.client_bytes == 0 || held == held_by_.end()) return {};
  if (held->second + bytes_of(r.id, model, r.tokens) <= options_.client_bytes) return {};
  return fail(
      errc::unavailable,
      fmt::format("request `{}`: your other requests hold {} of the {} bytes that one client may; try again when "
                  "some are done, or elsewhere",
                  r.id, held->second, options_.client_bytes));
}

void front_end::on_request(const std::string& peer, inference_request request) {
  std::lock_guard lock(mutex_);
  const std::string owner = peer.empty() || !link_ || link_->user().empty() ? peer : link_->user();
  if (reattach(peer, owner, request)) return;
  model_index model = 0;
  auto ok = admissible(request, model);
  if (ok) ok = within_quota(owner, request, model);
  if (!ok) {
    send(peer, request_refused{request.id, ok.error()});
    return;
  }
  if (best_rank() < 0) {
    if (elsewhere_.empty())
      send(peer, request_refused{
                     request.id,
                     {errc::unavailable, "no rank of this agent is active; ask the coordinator for one that is"}});
    else
      send(peer, request_moved{request.id, elsewhere_.front().front_end, request.first_step});
    return;
  }
  start(peer, owner,
        session{std::move(request.id), model, request.tokens, request.steps, request.first_step,
                std::move(request.hidden)});
}

// True if the request is running here and its stream could be taken up where the client stands.
bool front_end::reattach(const std::string& peer, const std::string& owner, const inference_request& request) {
  const auto found = entries_.find(request.id);
  if (found == entries_.end()) return false;
  entry& e = found->second;
  const std::uint32_t kept_from = e.backlog.empty() ? e.next_step : e.backlog.front().step;
  if (request.first_step < kept_from || request.first_step > e.next_step) {
    forget(request.id);  // the client stands elsewhere: its own state decides, and the answer is the same bits
    return false;
  }
  e.peer = peer;
  release(e);
  charge(e, owner);
  bool finished = false;
  for (auto& output : e.backlog) {
    finished = output.last;
    if (output.step >= request.first_step) send_output(peer, output);
  }
  drop_backlog(e);
  if (finished) forget(request.id);
  return true;
}

int front_end::best_rank() const {
  int best = -1;
  for (std::uint32_t r = 0; r < ranks_.size(); ++r)
    if (accepting_[r] && (best < 0 || queued_tokens_[r] < queued_tokens_[static_cast<std::uint32_t>(best)]))
      best = static_cast<int>(r);
  return best;
}

std::uint64_t front_end::bytes_of(const std::string& id, model_index model, std::uint32_t tokens) const {
  return session_overhead + id.size() + std::uint64_t{tokens} * options_.models[model].hidden * sizeof(float);
}

void front_end::charge(entry& e, const std::string& owner) {
  e.owner = owner;
  held_by_[owner] += e.bytes;
}

void front_end::release(const entry& e) {
  const auto held = held_by_.find(e.owner);
  if ((held->second -= e.bytes) == 0) held_by_.erase(held);
}

void front_end::start(const std::string& peer, const std::string& owner, session s) {
  const auto rank = static_cast<std::uint32_t>(best_rank());
  entry e;
  e.peer = peer;
  e.bytes = bytes_of(s.id, s.model, s.tokens);
  e.local_rank = rank;
  e.model = s.model;
  e.tokens = s.tokens;
  e.next_step = s.next_step;
  e.since = clock::now();
  queued_tokens_[rank] += s.tokens;
  bytes_ += e.bytes;
  charge(e, owner);
  entries_[s.id] = std::move(e);
  ranks_[rank].add(std::move(s));
}

// Lock held. The rank may send a few more outputs of it; they find no entry.
void front_end::forget(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  entry& e = found->second;
  queued_tokens_[e.local_rank] -= std::min<std::uint64_t>(queued_tokens_[e.local_rank], e.tokens);
  bytes_ -= e.bytes;
  release(e);
  drop_backlog(e);
  ranks_[e.local_rank].cancel(id);
  entries_.erase(found);
}

void front_end::on_output(session_output output) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(output.id);
  if (found == entries_.end()) return;
  entry& e = found->second;
  if (output.step != e.next_step) return;  // of a run that the client has started again
  ++e.next_step;
  if (e.peer.empty()) return keep(e, std::move(output));
  const bool last = output.last;
  const std::string id = output.id;
  send_output(e.peer, std::move(output));
  if (last) forget(id);
}

void front_end::keep(entry& e, session_output output) {
  backlog_bytes_ += output_bytes(output);
  e.backlog.push_back(std::move(output));
  while (!e.backlog.empty() && (e.backlog.size() > backlog_limit || backlog_bytes_ > options_.session_bytes)) {
    backlog_bytes_ -= output_bytes(e.backlog.front());
    e.backlog.pop_front();
  }
}

void front_end::drop_backlog(entry& e) {
  for (const auto& output : e.backlog) backlog_bytes_ -= output_bytes(output);
  e.backlog.clear();
}

// Its sessions go on for a while: the network may have failed it.
void front_end::on_gone(const std::string& peer) {
  std::lock_guard lock(mutex_);
  for (auto& [id, e] : entries_) {
    if (e.peer != peer) continue;
    e.peer.clear();
    e.since = clock::now();
  }
}

void front_end::on_handover(const std::string& peer, const session_handover& offer) {
  std::lock_guard lock(mutex_);
  bool ok = best_rank() >= 0;
  for (const auto& s : offer.sessions) {
    if (!ok) break;
    if (entries_.contains(s.id)) continue;  // a repeat, or the client was faster
    model_index model = 0;
    ok = admissible(s, model).has_value();
    if (ok) start("", "", session{s.id, model, s.tokens, s.steps, s.first_step, s.hidden});
  }
  send(peer, handover_taken{offer.handover, ok});
}

void front_end::tick(clock::time_point now) {
  std::vector<std::unique_ptr<link>> unused;
  {
    std::lock_guard lock(mutex_);
    keep_deadlines(now);
    unused = take_unused_neighbours();
  }
  for (auto& neighbour : unused) neighbour->stop();  // outside the lock: their threads may be waiting for it
}

// Lock held.
void front_end::keep_deadlines(clock::time_point now) {
  std::vector<std::string> stale;
  for (const auto& [id, e] : entries_)
    if (e.peer.empty() && now - e.since > unattached_for) stale.push_back(id);
  for (const auto& id : stale) {
    log::info("session {} given up: its client was away for {} s", id, unattached_for.count());
    forget(id);
  }
  std::vector<std::uint64_t> late;
  for (const auto& [id, batch] : leaving_)
    if (now > batch.deadline) late.push_back(id);
  for (const auto id : late) {
    auto& batch = leaving_.at(id);
    log::warn("{} took no sessions within {} s", batch.targets.front().front_end, handover_for.count());
    batch.targets.erase(batch.targets.begin());
    send_handover(id);
  }
}

}  // namespace ballast
