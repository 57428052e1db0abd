#include "tests/coordinator/bench.hpp"

#include <algorithm>
#include <cstdlib>

namespace ballast::cluster::test {

coordinator_config bench::default_config() {
  coordinator_config c;
  c.initial_ranks = 3;
  c.step_interval = 0;
  c.auto_replace = false;
  c.operation_deadline_ms = 5000;
  c.policy = "deepseek";
  c.shares_interval_ms = 0;
  return c;
}

hello bench::greeting(std::uint32_t agent) const {
  hello h;
  h.node = "node" + std::to_string(agent / 2);
  h.agent = "agent" + std::to_string(agent);
  h.process = process_.contains(agent) ? process_.at(agent) : 0;
  h.front_end = "front" + std::to_string(agent);
  h.models.push_back({"target", "f", 2, experts, 1, 10});
  rank_offer o;
  o.page_address = "pages" + std::to_string(agent);
  o.capacity.models.push_back({slots, 2});
  o.capacity.max_batch_tokens = 8;
  h.ranks.push_back(o);
  return h;
}

void bench::join(std::uint32_t agent) {
  process_[agent] = process_[agent] * 100 + agent + 1;
  dead.erase(agent);
  agents_ = std::max(agents_, agent + 1);
  say(agent, greeting(agent));
}

void bench::join_all(std::uint32_t agents) {
  for (std::uint32_t a = 0; a < agents; ++a) join(a);
}

void bench::say(std::uint32_t agent, message_body body) {
  feed(input::message{"peer" + std::to_string(agent), envelope{1, "agent", std::move(body)}});
}

std::optional<message_body> bench::ask(message_body body) {
  const auto id = ++asked_;
  feed(input::message{"operator", envelope{id, "operator", std::move(body)}});
  const auto found = answers_.find(id);
  return found == answers_.end() ? std::nullopt : std::optional(found->second);
}

operation_id bench::accepted_id(message_body body) {
  const auto a = ask(std::move(body));
  if (!a || !std::holds_alternative<accepted>(*a)) {
    ADD_FAILURE() << "not accepted: "
                  << (a && std::holds_alternative<refused>(*a) ? std::get<refused>(*a).failure.text : "no answer");
    return 0;
  }
  return std::get<accepted>(*a).operation;
}

std::string bench::refusal(message_body body) {
  const auto a = ask(std::move(body));
  return a && std::holds_alternative<refused>(*a) ? std::get<refused>(*a).failure.text : "";
}

void bench::pass(std::uint64_t ms) {
  for (const auto end = now + ms; now < end;) {
    now += 50;
    for (std::uint32_t a = 0; a < agents_; ++a) {
      if (dead.contains(a)) continue;
      heartbeat h{"agent" + std::to_string(a), process_[a], {}};
      for (const auto& r : state.seats)
        if (r.agent == h.agent) {
          h.seats.push_back({r.id, r.incarnation, now, state.epoch, 0, 0, 2, {}});
          if (hung.contains(a)) h.seats.back().stepping_ms = static_cast<std::uint32_t>(now - hung[a]);
        }
      say(a, h);
    }
    feed(input::tick{now - stood_still_});
  }
}

void bench::lose(std::uint32_t agent) {
  kill(agent);
  pass(state.config.heartbeat_timeout_ms + 100);
}

void bench::connection(std::uint32_t agent, bool open) {
  feed(input::connection{"peer" + std::to_string(agent), open});
}

void bench::answer(seat_id seat, bool ok, const std::string& why) {
  auto& commands = waiting[seat];
  if (commands.empty()) return;
  const seat_command c = commands.front();
  commands.pop_front();
  seat_outcome o;
  o.seat = c.seat;
  o.incarnation = c.incarnation;
  o.sequence = c.sequence;
  o.operation = c.operation;
  o.ok = ok;
  if (!ok) o.failure = {errc::io, why};
  o.step = now;
  o.switched = switched;
  o.contribution = "half" + std::to_string(index_of(seat));
  say(index_of(seat), o);
}

void bench::answer_all() {
  const auto next = [&] {
    return std::ranges::find_if(waiting,
                                [&](const auto& w) { return !w.second.empty() && !dead.contains(index_of(w.first)); });
  };
  for (auto w = next(); w != waiting.end(); w = next()) answer(w->first);
}

bool bench::run_to(phase wanted) {
  for (int i = 0; i < 10'000 && state.running; ++i) {
    if (at(wanted)) return true;
    const auto w = std::ranges::find_if(
        waiting, [&](const auto& e) { return !e.second.empty() && !dead.contains(index_of(e.first)); });
    if (w == waiting.end()) return false;
    answer(w->first);
  }
  return false;
}

operation_status bench::ended(operation_id id) const {
  const auto found = std::ranges::find(state.history, id, &operation_status::id);
  return found == state.history.end() ? operation_status{} : *found;
}

std::vector<std::uint32_t> bench::members() const {
  std::vector<std::uint32_t> out;
  for (const auto s : state.members) out.push_back(index_of(s));
  return out;
}

bool bench::legal() const {
  for (model_index m = 0; m < state.models.size(); ++m) {
    const auto& model = state.models[m];
    if (!model.current) return false;
    const auto ok = policies::validate(*model.current, model.description.layers, model.description.experts,
                                       infos_of(state, state.members, m), false);
    if (!ok) ADD_FAILURE() << ok.error().text;
    if (!ok) return false;
  }
  return true;
}

void bench::feed(const input_body& what) {
  auto out = step(state, what);
  if (!save(out)) return;
  for (auto& e : out) take(e);
  while (!plans_.empty()) {
    const auto asked = plans_.front();
    plans_.pop_front();
    feed(input::planned{asked.id, make_plan(asked)});
  }
}

bench::life bench::default_life() { return std::getenv("BALLAST_TEST_RESTORED") ? life::restored : life::unsaved; }

bool bench::save(const effects& out) {
  if (lives == life::unsaved || !rests_on_state(out)) return true;
  auto change = saver_.changes(state);
  change.journal = journal_of(out);
  if (change.empty()) return true;
  const bool dies = ++writes == dies_at;
  if (!dies || !dies_before) {
    EXPECT_TRUE(kept.apply(change));
  }
  if (dies) {
    plans_.clear();
    restart();
    stood_still_ = now - state.now_ms;
    return false;
  }
  if (lives == life::restored) {
    auto old = state;
    restart();
    carry_over(std::move(old));
  }
  return true;
}

void bench::restart() {
  auto rows = *kept.load();
  const bool anything = !rows.empty();
  auto restored = restore(rows, state.config);
  ASSERT_TRUE(restored) << restored.error().text;
  state = std::move(*restored);
  saver_ = state_saver(std::move(rows));
  if (!anything) return;
  const auto again = saver_.changes(state);
  for (const auto& [name, text] : again.rows)
    if (name != "clock") ADD_FAILURE() << name << " is not what was saved: " << text.value_or("gone");
}

// What no store keeps.
void bench::carry_over(cluster_state old) {
  for (std::size_t i = 0; i < state.seats.size(); ++i) {
    auto& seat = state.seats[i];
    auto& before = old.seats[i];
    seat.heard_ms = before.heard_ms;
    seat.pace = before.pace;
    seat.speed = before.speed;
    seat.beat = before.beat;
  }
  for (std::size_t m = 0; m < state.models.size(); ++m) {
    auto saved = std::move(state.models[m]);
    state.models[m] = std::move(old.models[m]);
    auto& model = state.models[m];
    model.current = saved.current;
    model.publishing = saved.publishing;
    model.last_version = saved.last_version;
    model.decided_at = saved.decided_at;
    model.imbalance_before = saved.imbalance_before;
    model.was_paying = saved.was_paying;
  }
  if (state.running) {
    auto& op = *state.running;
    op.asked = std::move(old.running->asked);
    op.quiet_step_ms = old.running->quiet_step_ms;
    op.moving_step_ms = old.running->moving_step_ms;
    op.moving_beats = old.running->moving_beats;
    for (std::size_t i = 0; i < op.now.awaited.size(); ++i)
      op.now.awaited[i].sent_ms = old.running->now.awaited[i].sent_ms;
  }
  state.last_event = old.last_event;
  state.previews = std::move(old.previews);
  state.expert_part = old.expert_part;
  state.shares_asked = std::move(old.shares_asked);
  state.shares_turn = old.shares_turn;
  state.complaint = old.complaint;
  state.start = std::move(old.start);
  state.unheard.clear();
}

void bench::heat() {
  const auto table = *state.models[0].current;
  load_matrix tokens(table.layers.size(), std::vector<double>(experts, 1));
  for (std::size_t l = 0; l < tokens.size(); ++l)
    for (std::size_t e = 0; e < experts; ++e)
      if (table.layers[l][e].front().seat == state.members.front()) tokens[l][e] = 50;
  for (const auto seat : state.members)
    say(index_of(seat), load_summary{seat, state.seats[index_of(seat)].incarnation, 0, 1, 8, tokens});
}

std::size_t bench::unnamed_slots() const {
  std::size_t n = 0;
  for (const auto& [seat, named] : state.unnamed) n += named.size();
  return n;
}

void bench::take(effect_body& e) {
  if (auto* s = std::get_if<effect::send>(&e)) {
    if (s->peer == "operator") answers_[s->id] = s->body;
    sent.emplace_back(s->peer, s->body);
    const auto* c = std::get_if<seat_command>(&s->body);
    if (!c) return;
    seen.insert(command_name(c->body));
    auto& queue = waiting[c->seat];
    std::erase_if(queue, [&](const seat_command& old) {
      return old.sequence <= c->sequence;
    });  // repeats, and what was overtaken
    queue.push_back(*c);
  } else if (auto* p = std::get_if<effect::request_plan>(&e)) {
    if (planner_works) plans_.push_back(p->request);
  } else if (auto* w = std::get_if<effect::publish>(&e)) {
    events.push_back(w->what);
  }
}

}  // namespace ballast::cluster::test
