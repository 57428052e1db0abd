#include "coordinator/cluster_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "coordinator/row_json_impl.hpp"
#include "coordinator/row_layers_impl.hpp"

namespace ballast::cluster {
namespace {

// Whether what is kept of the two is the same.
template <class T>
bool same_kept(const T& a, const T& b) {
  bool same = true;
  wire::fields(wire::of<T>{}, [&](const char*, auto member) { same = same && a.*member == b.*member; });
  return same;
}

// Of a plan: it stays what it is but for the versions that its tables are sent under.
std::vector<std::uint64_t> mark_of(const plan& p) {
  std::vector<std::uint64_t> out{p.id};
  for (const auto& m : p.models) out.insert(out.end(), {m.model, m.table.version, m.waves.size()});
  return out;
}

}  // namespace

struct state_saver::impl {
  struct row {
    std::string text;
    std::uint64_t seen = 0;  // the last look that found it in the state
  };
  std::map<std::string, row, std::less<>> saved;
  std::uint64_t look = 0;
  store_change change;
  // Compared instead of written out: there are many of them, and few change at once.
  std::vector<seat_record> seats;
  std::map<std::string, agent_record> agents;
  std::vector<std::uint64_t> plan_mark;
  std::vector<std::string> plan_layers;
  std::vector<std::string>* noted = nullptr;  // where layers are noted while a plan is written out
  std::optional<decltype(cluster_state::history)> history;
  std::optional<decltype(cluster_state::requests)> requests;
  std::optional<litter> unnamed;

  row_writer write{[this](const layer_placement& l) { return keep_layer(l); }};

  void put_text(const std::string& name, std::string text) {
    auto& r = saved[name];
    r.seen = look;
    if (r.text == text) return;
    r.text = std::move(text);
    change.rows.insert_or_assign(name, r.text);
  }
  void put(const std::string& name, const json& value) {
    put_text(name, value.dump(-1, ' ', false, json::error_handler_t::replace));
  }
  bool still_there(const std::string& name) {
    const auto found = saved.find(name);
    if (found == saved.end()) return false;
    found->second.seen = look;
    return true;
  }
  std::string keep_layer(const layer_placement& layer) {
    auto sum = name_of(layer);
    const auto name = layer_prefix + sum;
    if (!still_there(name)) put_text(name, text_of(layer));
    if (noted) noted->push_back(name);
    return sum;
  }

  void put_seats(const cluster_state& s) {
    for (std::size_t i = 0; i < s.seats.size(); ++i) {
      const auto name = fmt::format("seat/{}", i);
      if (i < seats.size() && same_kept(seats[i], s.seats[i]) && still_there(name)) continue;
      put(name, write(s.seats[i]));
      seats.resize(std::max(seats.size(), i + 1));
      seats[i] = s.seats[i];
    }
  }
  void put_agents(const cluster_state& s) {
    for (const auto& [key, agent] : s.agents) {
      const auto name = "agent/" + key;
      const auto known = agents.find(key);
      if (known != agents.end() && same_kept(known->second, agent) && still_there(name)) continue;
      put(name, write(agent));
      agents.insert_or_assign(key, agent);
    }
  }
  template <class T>
  void put_if_other(const std::string& name, const T& value, std::optional<T>& before) {
    if (before == value && still_there(name)) return;
    put(name, write(value));
    before = value;
  }
  void put_plan(const operation& op) {
    const std::string name = "operation/plan";
    if (!op.made) return;
    if (auto mark = mark_of(*op.made); mark != plan_mark || !still_there(name)) {
      plan_mark = std::move(mark);
      plan_layers.clear();
      noted = &plan_layers;
      put(name, write(*op.made));
      noted = nullptr;
    }
    for (const auto& layer : plan_layers) still_there(layer);
  }
  void put_all(const cluster_state& s) {
    put("schema", json{{"version", row_schema}});
    put("cluster", write(s));
    put_seats(s);
    put_agents(s);
    for (std::size_t m = 0; m < s.models.size(); ++m) put(fmt::format("model/{}", m), write(s.models[m]));
    put("queue", write(s.queue));
    put_if_other("history", s.history, history);
    put_if_other("requests", s.requests, requests);
    put_if_other("unnamed", s.unnamed, unnamed);
    if (!s.running) return;
    put("operation", write(*s.running));
    put("operation/round", write(s.running->now));
    put_plan(*s.running);
  }
  void erase_the_rest() {
    for (auto r = saved.begin(); r != saved.end();) {
      if (r->second.seen == look) {
        ++r;
      } else {
        change.rows.insert_or_assign(r->first, std::nullopt);
        r = saved.erase(r);
      }
    }
  }
  void put_clock(const cluster_state& s) {
    put("clock", json{{"now_ms", s.now_ms},
                      {"newest_step", s.newest_step},
                      {"last_event", s.last_event},
                      {"last_plan", s.last_plan},
                      {"page_seconds", s.page_seconds},
                      {"copy_slowdown", s.copy_slowdown}});
  }
};

state_saver::state_saver(rows saved) : impl_(std::make_unique<impl>()) {
  for (auto& [name, text] : saved) impl_->saved[name].text = std::move(text);
}
state_saver::state_saver(state_saver&&) noexcept = default;
state_saver& state_saver::operator=(state_saver&&) noexcept = default;
state_saver::~state_saver() = default;

store_change state_saver::changes(const cluster_state& state) {
  auto& i = *impl_;
  i.change = {};
  ++i.look;
  i.write.forget_tables();
  i.still_there("clock");
  i.put_all(state);
  i.erase_the_rest();
  if (!i.change.empty()) i.put_clock(state);
  return std::move(i.change);
}

bool rests_on_state(const effect_body& e) {
  return std::holds_alternative<effect::send>(e) || std::holds_alternative<effect::publish>(e) ||
         std::holds_alternative<effect::record>(e);
}

bool rests_on_state(const effects& out) {
  return std::ranges::any_of(out, [](const effect_body& e) { return rests_on_state(e); });
}

std::vector<journal_record> journal_of(const effects& out) {
  std::vector<journal_record> lines;
  for (const auto& e : out)
    if (const auto* r = std::get_if<effect::record>(&e)) lines.push_back(r->what);
  return lines;
}

}  // namespace ballast::cluster
