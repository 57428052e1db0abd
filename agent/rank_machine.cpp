#include "agent/rank_machine.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace ballast {
namespace {

// Commands that take the seat off a communicator that failed.
bool settles_trouble(const command_body& body) {
  return std::holds_alternative<command::halt>(body) || std::holds_alternative<command::resume>(body) ||
         std::holds_alternative<command::revert>(body) || std::holds_alternative<command::release>(body);
}

}  // namespace

rank_effects rank_machine::on(const rank_event_body& event) {
  rank_effects out;
  std::visit([&](const auto& e) { handle(e, out); }, event);
  return out;
}

void rank_machine::handle(const rank_event::commanded& e, rank_effects& out) {
  const seat_command& c = e.command;
  if (c.seat != seat_ || c.incarnation != incarnation_) {
    auto refusal = outcome_of(c);
    refusal.ok = false;
    refusal.failure = {errc::fenced, fmt::format("seat {} is incarnation {}, not {}", index_of(seat_), incarnation_, c.incarnation)};
    out.push_back(rank_effect::answer{std::move(refusal), false});
    return;
  }
  if (under_way_.contains(c.sequence)) return;  // a repeat; its outcome will come
  const auto known = std::ranges::find(outcomes_, c.sequence, &seat_outcome::sequence);
  if (known != outcomes_.end()) {
    out.push_back(rank_effect::answer{*known, true});
    return;
  }
  if (c.sequence < newest_) {  // overtaken by a newer command: obeying it now could undo that one
    auto refusal = outcome_of(c);
    refusal.ok = false;
    refusal.failure = {errc::fenced, fmt::format("command {} was overtaken by command {}", c.sequence, newest_)};
    out.push_back(rank_effect::answer{std::move(refusal), false});
    return;
  }
  newest_ = c.sequence;
  under_way_.emplace(c.sequence, c);
  auto effects = begin(c);
  std::ranges::move(effects, std::back_inserter(out));
}

rank_effects rank_machine::begin(const seat_command& c) {
  rank_effects out;
  const auto s = c.sequence;
  if (const auto* stage = std::get_if<command::stage>(&c.body)) {
    out.push_back(rank_effect::fetch{s, stage->items});
  } else if (const auto* prepare = std::get_if<command::prepare>(&c.body)) {
    out.push_back(rank_effect::fetch_dense{s, prepare->sources});
  } else if (const auto* reclaim = std::get_if<command::reclaim>(&c.body)) {
    out.push_back(rank_effect::empty{s, reclaim->slots});
  } else if (const auto* open = std::get_if<command::open_comm>(&c.body)) {
    out.push_back(rank_effect::open{s, open->epoch});
  } else if (const auto* connect = std::get_if<command::connect_comm>(&c.body)) {
    out.push_back(rank_effect::connect{s, connect->epoch, connect->members});
  } else if (const auto* drain = std::get_if<command::drain>(&c.body)) {
    out.push_back(rank_effect::drain{s, drain->targets});
  } else if (std::holds_alternative<command::undrain>(c.body)) {
    out.push_back(rank_effect::undrain{});
    finish_with(s, {}, out);
  } else {
    begin_loop_order(c, out);
  }
  return out;
}

bool rank_machine::needs_missing_comm(const command_body& body) const {
  if (const auto* arm = std::get_if<command::arm>(&body)) return arm->member && !connected_.contains(arm->epoch);
  if (const auto* resume = std::get_if<command::resume>(&body)) return !connected_.contains(resume->epoch);
  return false;
}

void rank_machine::begin_loop_order(const seat_command& c, rank_effects& out) {
  const auto s = c.sequence;
  if (needs_missing_comm(c.body)) {
    finish_with(s, fail(errc::conflict, fmt::format("seat {}: no connected communicator for `{}`; connect it first",
                                                    index_of(seat_), command_name(c.body))), out);
    return;
  }
  if (settles_trouble(c.body)) trouble_.reset();
  if (std::holds_alternative<command::halt>(c.body)) {
    out.push_back(rank_effect::cancel_fetches{});
    out.push_back(rank_effect::abort_comms{});
    connected_.clear();
  } else if (const auto* revert = std::get_if<command::revert>(&c.body)) {
    out.push_back(rank_effect::abort_comm{revert->epoch});
    connected_.erase(revert->epoch);
  } else if (const auto* close = std::get_if<command::close_comm>(&c.body)) {
    out.push_back(rank_effect::drop_comms{close->keep});
    std::erase_if(connected_, [&](epoch_t e) { return e != close->keep; });
  } else if (std::holds_alternative<command::resume>(c.body)) {
    out.push_back(rank_effect::undrain{});  // it stays: the scale-down that drained it was cut short
  } else if (std::holds_alternative<command::release>(c.body)) {
    out.push_back(rank_effect::cancel_fetches{});
    out.push_back(rank_effect::abort_comms{});
    for (const auto& [sequence, pending] : std::exchange(under_way_, {}))
      if (sequence != s) out.push_back(rank_effect::discard{sequence});
    under_way_.emplace(s, c);
    out.push_back(rank_effect::empty_all{s});
    connected_.clear();
    return;
  }
  out.push_back(rank_effect::order{s, c.body});
}

void rank_machine::handle(const rank_event::fetched& e, rank_effects& out) {
  const auto found = under_way_.find(e.sequence);
  if (found == under_way_.end()) {
    out.push_back(rank_effect::discard{e.sequence});
    return;
  }
  if (!e.outcome) {
    out.push_back(rank_effect::discard{e.sequence});
    finish_with(e.sequence, e.outcome, out);
  } else if (std::holds_alternative<command::stage>(found->second.body)) {
    bytes_[e.sequence] = e.bytes;
    out.push_back(rank_effect::enter{e.sequence});
  } else {
    auto outcome = outcome_of(found->second);
    outcome.bytes = e.bytes;
    finish(e.sequence, std::move(outcome), out);
  }
}

void rank_machine::handle(const rank_event::opened& e, rank_effects& out) {
  const auto found = under_way_.find(e.sequence);
  if (found == under_way_.end()) return;
  auto outcome = outcome_of(found->second);
  if (e.contribution) {
    outcome.contribution = *e.contribution;
  } else {
    outcome.ok = false;
    outcome.failure = e.contribution.error();
  }
  finish(e.sequence, std::move(outcome), out);
}

void rank_machine::handle(const rank_event::connected& e, rank_effects& out) {
  if (!under_way_.contains(e.sequence)) return;
  if (e.outcome) connected_.insert(e.epoch);
  finish_with(e.sequence, e.outcome, out);
}

void rank_machine::handle(const rank_event::noticed& e, rank_effects& out) {
  step_ = e.step;
  epoch_ = e.epoch;
  const auto found = under_way_.find(e.notice.sequence);
  if (found == under_way_.end()) return;
  auto outcome = outcome_of(found->second);
  outcome.switched = e.notice.switched;
  if (const auto bytes = bytes_.find(e.notice.sequence); bytes != bytes_.end()) {
    outcome.bytes = bytes->second;
    bytes_.erase(bytes);
  }
  if (e.notice.failure) {
    outcome.ok = false;
    outcome.failure = *e.notice.failure;
  }
  finish(e.notice.sequence, std::move(outcome), out);
}

void rank_machine::handle(const rank_event::drained& e, rank_effects& out) { finish_with(e.sequence, {}, out); }

void rank_machine::handle(const rank_event::comm_failed& e, rank_effects& out) {
  trouble_ = seat_trouble{seat_, incarnation_, e.epoch, e.failure};
  out.push_back(rank_effect::trouble{*trouble_});
}

void rank_machine::handle(const rank_event::beat&, rank_effects& out) {
  if (trouble_) out.push_back(rank_effect::trouble{*trouble_});
}

seat_outcome rank_machine::outcome_of(const seat_command& c) const {
  seat_outcome o;
  o.seat = seat_;
  o.incarnation = incarnation_;
  o.sequence = c.sequence;
  o.operation = c.operation;
  o.step = step_;
  o.epoch = epoch_;
  return o;
}

void rank_machine::finish_with(std::uint64_t sequence, const status& s, rank_effects& out) {
  const auto found = under_way_.find(sequence);
  if (found == under_way_.end()) return;
  auto outcome = outcome_of(found->second);
  if (!s) {
    outcome.ok = false;
    outcome.failure = s.error();
  }
  finish(sequence, std::move(outcome), out);
}

void rank_machine::finish(std::uint64_t sequence, seat_outcome outcome, rank_effects& out) {
  under_way_.erase(sequence);
  outcomes_.push_back(outcome);
  if (outcomes_.size() > remembered_outcomes) outcomes_.pop_front();
  out.push_back(rank_effect::answer{std::move(outcome), false});
}

}  // namespace ballast
