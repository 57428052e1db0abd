#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {

const char* to_string(seat_state s) noexcept {
  switch (s) {
    case seat_state::idle:
      return "idle";
    case seat_state::joining:
      return "joining";
    case seat_state::active:
      return "active";
    case seat_state::leaving:
      return "leaving";
    case seat_state::lost:
      return "lost";
  }
  return "lost";
}

const char* to_string(operation_kind k) noexcept {
  switch (k) {
    case operation_kind::rebalance:
      return "rebalance";
    case operation_kind::scale:
      return "scale";
    case operation_kind::replace:
      return "replace";
    case operation_kind::shares:
      return "shares";
  }
  return "scale";
}

const seat_record* find_seat(const cluster_state& s, seat_id seat) {
  return index_of(seat) < s.seats.size() ? &s.seats[index_of(seat)] : nullptr;
}
seat_record* find_seat(cluster_state& s, seat_id seat) {
  return index_of(seat) < s.seats.size() ? &s.seats[index_of(seat)] : nullptr;
}

bool contains(const std::vector<seat_id>& seats, seat_id seat) { return std::ranges::find(seats, seat) != seats.end(); }

std::vector<seat_id> joined(std::vector<seat_id> a, const std::vector<seat_id>& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::ranges::sort(a);
  a.erase(std::unique(a.begin(), a.end()), a.end());
  return a;
}

std::vector<seat_id> without(const std::vector<seat_id>& a, const std::vector<seat_id>& b) {
  std::vector<seat_id> out;
  std::ranges::copy_if(a, std::back_inserter(out), [&](seat_id seat) { return !contains(b, seat); });
  return out;
}

bool alive(const cluster_state& s, seat_id seat) {
  const auto* r = find_seat(s, seat);
  return r && r->state != seat_state::lost;
}

std::vector<seat_id> alive_only(const cluster_state& s, const std::vector<seat_id>& seats) {
  std::vector<seat_id> out;
  std::ranges::copy_if(seats, std::back_inserter(out), [&](seat_id seat) { return alive(s, seat); });
  return out;
}

std::vector<seat_id> seats_in(const cluster_state& s, seat_state state) {
  std::vector<seat_id> out;
  for (const auto& r : s.seats)
    if (r.state == state) out.push_back(r.id);
  return out;
}

void set_seat_state(context& c, seat_id seat, seat_state to) {
  auto* r = find_seat(c.s, seat);
  if (!r || r->state == to || r->state == seat_state::lost) return;  // only a hello brings a lost seat back
  r->state = to;
  if (to == seat_state::idle) c.s.unnamed.erase(seat);
  tell(c, "seat", "seat " + std::to_string(index_of(seat)) + " is " + to_string(to), nullptr, {status_of(c.s, *r)});
}

void set_members(cluster_state& s, std::vector<seat_id> members) {
  s.members = std::move(members);
  for (auto& m : s.models) m.window.set_active(s.members);
}

policies::seat_info info_of(const cluster_state& s, seat_id seat, model_index model) {
  const auto& r = s.seats[index_of(seat)];
  return {seat, r.node, speed_of(s, r), r.offer.capacity.models[model]};
}

std::vector<policies::seat_info> infos_of(const cluster_state& s, const std::vector<seat_id>& seats,
                                          model_index model) {
  std::vector<policies::seat_info> out;
  for (const auto seat : seats) out.push_back(info_of(s, seat, model));
  return out;
}

}  // namespace ballast::cluster
