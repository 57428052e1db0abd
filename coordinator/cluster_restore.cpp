#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "coordinator/cluster_parts.hpp"
#include "coordinator/cluster_rows.hpp"
#include "coordinator/row_json_impl.hpp"
#include "coordinator/row_layers_impl.hpp"

namespace ballast::cluster {
namespace {

constexpr std::uint64_t link_patience_ms = 1000;  // links of agents try to come back several times meanwhile

// Events published after the rows were saved have numbers that these do not know of: leaving some out tells watchers
// that they missed something.
constexpr std::uint64_t events_left_out = 1u << 20;

// Throws what row_reader throws; `at` then names the row.
class restorer {
 public:
  restorer(const rows& saved, cluster_state& to) : saved_(saved), s_(to) {}

  void all() {
    read("cluster", s_);
    clock();
    each("agent/", [&](std::string_view name, const json& row) { read_(row, s_.agents[std::string(name)]); });
    each("seat/", [&](std::string_view, const json& row) { seat(row); });
    std::ranges::sort(s_.seats, {}, &seat_record::id);
    each("model/", [&](std::string_view, const json& row) { model(row); });
    read("queue", s_.queue);
    read("history", s_.history);
    read("requests", s_.requests);
    read("unnamed", s_.unnamed);
    operation_under_way();
    at = "cluster";
    check();
  }

  std::string at;

 private:
  const std::string* text_of(const std::string& name) {
    at = name;
    const auto found = saved_.find(name);
    return found == saved_.end() ? nullptr : &found->second;
  }
  template <class T>
  void read(const std::string& name, T& to) {
    if (const auto* text = text_of(name)) read_(json::parse(*text), to);
  }
  template <class F>
  void each(const std::string& prefix, F take) {
    for (auto r = saved_.lower_bound(prefix); r != saved_.end() && r->first.starts_with(prefix); ++r) {
      at = r->first;
      take(std::string_view(r->first).substr(prefix.size()), json::parse(r->second));
    }
  }
  layer_placement layer(const std::string& sum) {
    const auto found = saved_.find(layer_prefix + sum);
    if (found == saved_.end()) throw std::runtime_error("it names " + (layer_prefix + sum) + ", which is missing");
    return layer_from(found->second);
  }

  void clock() {
    const auto* text = text_of("clock");
    if (!text) return;
    const auto row = json::parse(*text);
    s_.now_ms = row.at("now_ms").get<std::uint64_t>();
    s_.newest_step = row.at("newest_step").get<step_t>();
    s_.last_event = row.at("last_event").get<std::uint64_t>() + events_left_out;
    s_.last_plan = row.at("last_plan").get<std::uint64_t>();
    read_(row.at("page_seconds"), s_.page_seconds);
    read_(row.at("copy_slowdown"), s_.copy_slowdown);
  }
  void seat(const json& row) {
    auto& r = s_.seats.emplace_back();
    read_(row, r);
    r.heard_ms = s_.now_ms + link_patience_ms;
    r.beat.seat = r.id;
    r.beat.incarnation = r.incarnation;
    if (r.state != seat_state::lost) s_.unheard.insert(r.id);
  }
  void model(const json& row) {  // in order: there are fewer than ten
    model_description d;
    read_(row.at("description"), d);
    auto& m = s_.models.emplace_back(std::move(d), s_.config.window_size);
    read_(row, m);
    m.window.set_active(s_.members);
  }
  void operation_under_way() {
    if (!text_of("operation")) return;
    auto& op = s_.running.emplace();
    read("operation", op);
    read("operation/round", op.now);
    if (text_of("operation/plan")) read("operation/plan", op.made.emplace());
  }

  void check() const {
    for (std::size_t i = 0; i < s_.seats.size(); ++i)
      if (index_of(s_.seats[i].id) != i) throw std::runtime_error(fmt::format("there is no row of seat {}", i));
    const auto known = [&](const std::vector<seat_id>& seats) {
      for (const auto seat : seats)
        if (index_of(seat) >= s_.seats.size())
          throw std::runtime_error(fmt::format("it names seat {}, which has no row", index_of(seat)));
    };
    known(s_.members);
    known(s_.held);
    for (const auto& r : s_.seats)
      if (!s_.agents.contains(r.agent)) throw std::runtime_error(fmt::format("there is no row of agent {}", r.agent));
    if (!s_.running) return;
    const auto& op = *s_.running;
    for (const auto& seats : {op.joiners, op.leavers, op.old_members, op.new_members, op.what.target}) known(seats);
    if (op.made)
      for (const auto& m : op.made->models)
        if (m.model >= s_.models.size())
          throw std::runtime_error(fmt::format("its plan is for model {}, which has no row", m.model));
  }

  const rows& saved_;
  cluster_state& s_;
  row_reader read_{[this](const std::string& sum) { return layer(sum); }};
};

status check_schema(const rows& saved) {
  const auto found = saved.find("schema");
  if (found == saved.end())
    return fail(errc::malformed, "stored state: row `schema` is missing; is it a coordinator's?");
  const auto version = json::parse(found->second).at("version").get<std::uint32_t>();
  if (version <= row_schema) return {};
  return fail(
      errc::version_mismatch,
      fmt::format("stored state: it was written by a newer release (schema {}, this one reads up to {}); run that "
                  "release, or name an empty store",
                  version, row_schema));
}

}  // namespace

result<cluster_state> restore(const rows& saved, coordinator_config config) {
  cluster_state s(std::move(config));
  if (saved.empty()) return s;
  restorer r(saved, s);
  try {
    r.at = "schema";
    if (auto ok = check_schema(saved); !ok) return fail(ok.error());
    r.all();
  } catch (const std::exception& e) {
    return fail(errc::malformed, fmt::format("stored state: row `{}`: {}", r.at, e.what()));
  }
  return s;
}

}  // namespace ballast::cluster
