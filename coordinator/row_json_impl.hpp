// Structs as JSON and back, walked by their lists of fields. Placements are large and mostly alike: their layers are
// kept apart, each once, under the sum of its content, and a placement names them.
#pragma once

#include <array>
#include <concepts>
#include <deque>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/row_fields_impl.hpp"
#include "messages/names_impl.hpp"

namespace ballast::cluster {

using json = nlohmann::json;

// Of the meaning of the rows; grows only where an older release could not read them right.
inline constexpr std::uint32_t row_schema = 1;

// Names of enums: unlike numbers they stay what they are when a list grows in its middle.
inline constexpr std::array seat_states{seat_state::idle, seat_state::joining, seat_state::active, seat_state::leaving,
                                        seat_state::lost};
inline constexpr std::array operation_kinds{operation_kind::rebalance, operation_kind::scale, operation_kind::replace,
                                            operation_kind::shares};

class row_writer {
 public:
  // Takes a layer in and gives the name that it is kept under.
  using layer_keeper = std::function<std::string(const layer_placement&)>;
  explicit row_writer(layer_keeper keep) : keep_(std::move(keep)) {}

  template <class T>
  json operator()(const T& v) {
    if constexpr (wire::has_fields<T>) {
      return with_fields(v);
    } else if constexpr (std::is_same_v<T, seat_id>) {
      return index_of(v);
    } else {
      return json(v);  // numbers, text, truth
    }
  }
  json operator()(seat_state v) { return to_string(v); }
  json operator()(operation_kind v) { return to_string(v); }
  json operator()(errc v) { return to_string(v); }
  json operator()(phase v) { return std::string(row_of(v).name); }

  template <class T>
  json operator()(const std::vector<T>& v) {
    return list(v);
  }
  template <class T>
  json operator()(const std::deque<T>& v) {
    return list(v);
  }
  template <class T>
  json operator()(const std::set<T>& v) {
    return list(v);
  }
  template <class T>
  json operator()(const std::optional<T>& v) {
    return v ? (*this)(*v) : json(nullptr);
  }
  template <class K, class T>
  json operator()(const std::map<K, T>& v) {  // as a list of pairs: keys need not be text
    auto out = json::array();
    for (const auto& [key, value] : v) out.push_back(json::array({(*this)(key), (*this)(value)}));
    return out;
  }
  template <class A, class B>
  json operator()(const std::pair<A, B>& v) {
    return json::array({(*this)(v.first), (*this)(v.second)});
  }
  json operator()(const slot_ref& v) { return json::array({v.model, v.layer, v.slot}); }
  json operator()(const placement& v) {
    if (!in_command_) return of_layers(v);
    auto& told = told_[{v.model, v.version}];  // a version that was given out means one table, and many seats get it
    if (told.is_null()) told = of_layers(v);
    return told;
  }
  json operator()(const command_body& v) {
    in_command_ = true;
    auto out = std::visit(
        [&](const auto& body) {
          return json{{"kind", command_name(v)}, {"body", with_fields(body)}};
        },
        v);
    in_command_ = false;
    return out;
  }
  void forget_tables() { told_.clear(); }  // before every look at a state

 private:
  json of_layers(const placement& v) {
    auto layers = json::array();
    for (const auto& layer : v.layers) layers.push_back(keep_(layer));
    return {{"model", v.model}, {"version", v.version}, {"layers", std::move(layers)}};
  }
  template <class List>
  json list(const List& items) {
    auto out = json::array();
    for (const auto& item : items) out.push_back((*this)(item));
    return out;
  }
  template <class T>
  json with_fields(const T& v) {
    auto out = json::object();
    wire::fields(wire::of<T>{}, [&](const char* key, auto member) { out[key] = (*this)(v.*member); });
    return out;
  }

  layer_keeper keep_;
  bool in_command_ = false;
  std::map<std::pair<model_index, version_t>, json> told_;
};

// Throws nlohmann::json::exception or std::runtime_error where a row does not hold what it should. Missing fields keep
// what they are: a release that knows more of them reads what an older one has written.
class row_reader {
 public:
  using layer_finder = std::function<layer_placement(const std::string& name)>;
  explicit row_reader(layer_finder find) : find_(std::move(find)) {}

  template <class T>
  void operator()(const json& from, T& to) {
    if constexpr (wire::has_fields<T>) {
      with_fields(from, to);
    } else {
      from.get_to(to);
    }
  }
  void operator()(const json& from, double& to) {  // what is no number was written as null
    if (!from.is_null()) from.get_to(to);
  }
  void operator()(const json& from, seat_id& to) { to = seat_id{from.get<std::uint32_t>()}; }
  void operator()(const json& from, seat_state& to) {
    to = seat_states.at(position(seat_states, from, [](seat_state s) { return to_string(s); }));
  }
  void operator()(const json& from, operation_kind& to) {
    to = operation_kinds.at(position(operation_kinds, from, [](operation_kind k) { return to_string(k); }));
  }
  void operator()(const json& from, errc& to) {
    to = static_cast<errc>(position(error_names, from, [](const char* name) { return name; }));
  }
  void operator()(const json& from, phase& to) {
    to = phase_table.at(position(phase_table, from, [](const phase_row& r) { return r.name; })).at;
  }

  template <class T>
  void operator()(const json& from, std::vector<T>& to) {
    list(from, to);
  }
  template <class T>
  void operator()(const json& from, std::deque<T>& to) {
    list(from, to);
  }
  template <class T>
  void operator()(const json& from, std::set<T>& to) {
    std::vector<T> items;
    list(from, items);
    to = {items.begin(), items.end()};
  }
  template <class T>
  void operator()(const json& from, std::optional<T>& to) {
    to.reset();
    if (!from.is_null()) (*this)(from, to.emplace());
  }
  template <class K, class T>
  void operator()(const json& from, std::map<K, T>& to) {
    to.clear();
    for (const auto& pair : from) {
      K key{};
      (*this)(pair.at(0), key);
      (*this)(pair.at(1), to[key]);
    }
  }
  template <class A, class B>
  void operator()(const json& from, std::pair<A, B>& to) {
    (*this)(from.at(0), to.first);
    (*this)(from.at(1), to.second);
  }
  void operator()(const json& from, slot_ref& to) {
    to = {from.at(0).get<model_index>(), from.at(1).get<std::uint32_t>(), from.at(2).get<std::uint32_t>()};
  }
  void operator()(const json& from, placement& to) {
    to.model = from.at("model").get<model_index>();
    to.version = from.at("version").get<version_t>();
    to.layers.clear();
    for (const auto& name : from.at("layers")) to.layers.push_back(find_(name.get<std::string>()));
  }
  void operator()(const json& from, command_body& to) {
    const auto kind = position(command_names, from.at("kind"), [](const char* name) { return name; });
    make(kind, from.at("body"), to);
  }

 private:
  template <class Table, class Name>
  static std::size_t position(const Table& table, const json& from, Name name_of) {
    const auto name = from.get<std::string>();
    for (std::size_t i = 0; i < table.size(); ++i)
      if (name == name_of(table[i])) return i;
    throw std::runtime_error("`" + name + "` is unknown");
  }
  template <class List>
  void list(const json& from, List& to) {
    to.clear();
    for (const auto& item : from) (*this)(item, to.emplace_back());
  }
  template <class T>
  void with_fields(const json& from, T& to) {
    if (!from.is_object()) throw std::runtime_error("an object was expected");
    wire::fields(wire::of<T>{}, [&](const char* key, auto member) {
      if (const auto found = from.find(key); found != from.end()) (*this)(*found, to.*member);
    });
  }
  template <class... T>
  void make(std::size_t kind, const json& from, std::variant<T...>& to) {
    std::size_t next = 0;
    const auto try_one = [&]<class U>(std::type_identity<U>) {
      if (next++ == kind) with_fields(from, to.template emplace<U>());
    };
    (try_one(std::type_identity<T>{}), ...);
  }

  layer_finder find_;
};

}  // namespace ballast::cluster
