#include "tests/coordinator/replay.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>

namespace ballast::cluster::test {
namespace {

coordinator_config config_of(replay_settings s, const policies::load_recording& recording) {
  auto c = s.coordinator;
  const auto records = std::max(1u, recording.meta.steps_per_interval);
  if (c.step_interval != 0) c.step_interval = records * s.steps_per_record;
  c.window_size = records * s.steps_per_record;
  c.initial_ranks = s.seats;
  c.auto_replace = false;
  return c;
}

load_matrix zeros(const load_matrix& like) {
  return load_matrix(like.size(), std::vector<double>(like.front().size()));
}

}  // namespace

replay::replay(const policies::load_recording& recording, const replay_settings& settings)
    : recording_(recording), settings_(settings), state_(config_of(settings, recording)) {}

void replay::join() {
  for (std::uint32_t r = 0; r < settings_.seats; ++r) {
    hello h;
    h.node = "node" + std::to_string(r * settings_.nodes / settings_.seats);
    h.agent = "agent" + std::to_string(r);
    h.process = r + 1;
    h.models.push_back(
        {"replayed", "f", recording_.meta.layers, recording_.meta.experts, recording_.meta.groups, 1, 1});
    rank_offer o;
    o.page_address = "pages";
    o.capacity.models.push_back({settings_.slots, settings_.spare_pages});
    o.capacity.max_batch_tokens = 256;
    h.ranks.push_back(o);
    take(input::message{h.agent, {1, h.agent, h}});
  }
}

void replay::take(const input_body& what) {
  auto out = cluster::step(state_, what);
  for (auto& e : out) perform(e);
}

void replay::perform(effect_body& e) {
  const auto now = static_cast<std::uint64_t>(now_ms_);
  if (auto* s = std::get_if<effect::send>(&e)) {
    if (const auto* c = std::get_if<seat_command>(&s->body)) obey(*c);
    if (const auto* r = std::get_if<refused>(&s->body)) throw std::runtime_error(r->failure.text);
  } else if (auto* p = std::get_if<effect::request_plan>(&e)) {
    due_.emplace(now + 5, input::planned{p->request.id, make_plan(p->request)});
  } else if (auto* w = std::get_if<effect::publish>(&e)) {
    if (w->what.kind == "decision") decisions_.push_back(w->what.text);
    for (const auto& op : w->what.operation)
      if (op.kind == "rebalance" && op.outcome == "done" && op.pages_copied > 0)
        ++rebalances_, copies_ += op.pages_copied;
  }
}

// A command is done by the seat's next step; copies take their time.
void replay::obey(const seat_command& c) {
  seat_outcome o;
  o.seat = c.seat;
  o.incarnation = c.incarnation;
  o.sequence = c.sequence;
  o.operation = c.operation;
  o.switched = true;
  o.contribution = "half";
  o.step = step_;
  double takes = settings_.step_ms;
  if (std::holds_alternative<command::stage>(c.body)) takes = static_cast<double>(settings_.copy_ms);
  if (const auto* p = std::get_if<command::publish>(&c.body)) next_[c.seat] = p->table, ++tables_;
  if (const auto* r = std::get_if<command::resume>(&c.body)) next_[c.seat] = r->tables.front();
  due_.emplace(static_cast<std::uint64_t>(now_ms_ + takes),
               input::message{"agent" + std::to_string(index_of(c.seat)), {1, "agent", o}});
}

void replay::deliver() {
  while (!due_.empty() && due_.begin()->first <= static_cast<std::uint64_t>(now_ms_)) {
    const auto what = std::move(due_.begin()->second);
    due_.erase(due_.begin());
    take(what);
  }
  take(input::tick{static_cast<std::uint64_t>(now_ms_)});
}

void replay::beat() {
  for (std::uint32_t r = 0; r < settings_.seats; ++r) {
    heartbeat h{"agent" + std::to_string(r), r + 1, {}};
    h.seats.push_back({seat_id{r}, 1, step_, state_.epoch, 1, 1, settings_.step_ms, {}});
    take(input::message{h.agent, {1, h.agent, h}});
  }
}

load_matrix replay::loads_of(const load_matrix& record, std::uint64_t) {
  auto out = record;
  std::mt19937_64 random(++random_);
  for (auto& layer : out)
    for (auto& n : layer) {
      n /= settings_.steps_per_record;
      if (settings_.sampled && n > 0) n = static_cast<double>(std::poisson_distribution<int>(n)(random));
    }
  return out;
}

// Every seat sends an equal part of the tokens, by the table that it uses.
void replay::step_all(const load_matrix& tokens) {
  ++step_;
  now_ms_ += settings_.step_ms;
  for (auto& [seat, table] : next_) in_use_[seat] = std::move(table);
  next_.clear();
  const double part = 1.0 / static_cast<double>(in_use_.size());
  for (const auto& [sender, table] : in_use_)
    for (std::size_t l = 0; l < tokens.size(); ++l)
      for (std::size_t e = 0; e < tokens[l].size(); ++e)
        for (const auto& r : table.layers[l][e]) {
          const double n = tokens[l][e] * part * r.share;
          auto& mine = unreported_[r.seat];
          if (mine.empty()) mine = zeros(tokens);
          mine[l][e] += n;
          auto& got = got_[r.seat];
          got.resize(tokens.size());
          got[l] += n;
        }
}

void replay::report(step_t last) {
  const auto interval = state_.config.load_interval_steps;
  for (auto& [seat, tokens] : unreported_) {
    load_summary l{seat, 1, 0, last - interval + 1, last, tokens, 0};
    due_.emplace(static_cast<std::uint64_t>(now_ms_ + 1),
                 input::message{"agent" + std::to_string(index_of(seat)), {1, "agent", l}});
    tokens = zeros(tokens);
  }
}

void replay::close_interval() {
  const auto seats = infos_of(state_, state_.members, 0);
  const auto seen = policies::imbalance_of_ranks(got_, seats);
  intervals_.push_back({seen.mean, seen.max, std::exchange(copies_, 0)});
  got_.clear();
}

void replay::place_once() {
  rebalance_request r;
  r.force = true;
  take(input::message{"operator", {1, "operator", r}});
}

replay_result replay::run() {
  join();
  for (int i = 0; i < 1000 && (state_.running || state_.members.empty()); ++i) {
    now_ms_ += settings_.step_ms;
    deliver();
  }
  const auto records = std::max(1u, recording_.meta.steps_per_interval);
  const auto most = settings_.intervals == 0 ? recording_.records.size() : std::size_t{settings_.intervals} * records;
  for (std::size_t i = 0; i < std::min(most, recording_.records.size()); ++i) {
    for (std::uint64_t n = 0; n < settings_.steps_per_record; ++n) {
      step_all(loads_of(recording_.records[i].tokens, n));
      if (step_ % state_.config.load_interval_steps == 0) report(step_);
      if (step_ % 5 == 0) beat();
      deliver();
    }
    if ((i + 1) % records == 0) close_interval();
    if (settings_.placed_once && i + 1 == records) place_once();
  }
  return result();
}

replay_result replay::result() const {
  replay_result out;
  out.intervals.assign(intervals_.begin() + 1, intervals_.end());
  std::vector<double> all;
  std::uint64_t copies = 0;
  for (const auto& i : out.intervals) all.push_back(i.imbalance), copies += i.copies;
  std::ranges::sort(all);
  out.mean = std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
  out.p95 = all[all.size() * 95 / 100];
  out.worst = all.back();
  const double slots =
      static_cast<double>(recording_.meta.layers) * (recording_.meta.experts + state_.config.num_redundant_experts);
  if (rebalances_ > 0) out.moved = static_cast<double>(copies) / slots / static_cast<double>(rebalances_);
  out.rebalances = rebalances_;
  out.share_updates = state_.models[0].share_updates;
  out.share_skips = state_.models[0].share_skips;
  out.tables = tables_ / settings_.seats;
  out.decisions = decisions_;
  return out;
}

}  // namespace ballast::cluster::test
