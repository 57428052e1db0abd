#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

std::map<std::uint32_t, std::uint32_t> per_node(const cluster_state& s, const std::vector<seat_id>& seats) {
  std::map<std::uint32_t, std::uint32_t> out;
  for (const auto seat : seats) ++out[s.seats[index_of(seat)].node];
  return out;
}

// Adds the candidate on the node that has fewest of `chosen`.
bool add_one(const cluster_state& s, std::vector<seat_id>& chosen, const std::vector<seat_id>& candidates) {
  auto used = per_node(s, chosen);
  const seat_id* best = nullptr;
  for (const auto& seat : candidates) {
    if (contains(chosen, seat)) continue;
    if (!best || used[s.seats[index_of(seat)].node] < used[s.seats[index_of(*best)].node]) best = &seat;
  }
  if (!best) return false;
  chosen.push_back(*best);
  return true;
}

// Takes the newest seat off the node that has most of `chosen`.
void remove_one(const cluster_state& s, std::vector<seat_id>& chosen) {
  auto used = per_node(s, chosen);
  const auto fuller = [&](seat_id a, seat_id b) {
    const auto na = used[s.seats[index_of(a)].node], nb = used[s.seats[index_of(b)].node];
    return na != nb ? na < nb : index_of(a) < index_of(b);
  };
  chosen.erase(std::ranges::max_element(chosen, fuller));
}

result<std::vector<seat_id>> named_seats(const cluster_state& s, std::vector<seat_id> seats) {
  std::ranges::sort(seats);
  if (std::ranges::adjacent_find(seats) != seats.end()) return fail(errc::invalid_argument, "a seat is named twice");
  for (const auto seat : seats)
    if (!alive(s, seat)) {
      std::string known;
      for (const auto& r : s.seats)
        if (r.state != seat_state::lost) known += fmt::format("{}{}", known.empty() ? "" : ", ", index_of(r.id));
      return fail(errc::not_found,
                  fmt::format("there is no seat {}; seats are {}", index_of(seat), known.empty() ? "none" : known));
    }
  return seats;
}

}  // namespace

result<std::vector<seat_id>> choose_seats(const cluster_state& s, const order& o) {
  if (!o.target.empty()) return named_seats(s, o.target);
  std::vector<seat_id> chosen = alive_only(s, s.members), others;
  for (const auto& r : s.seats)
    if (r.state != seat_state::lost && !contains(chosen, r.id)) others.push_back(r.id);
  if (chosen.size() + others.size() < o.ranks)
    return fail(errc::does_not_fit, fmt::format("scale to {}: only {} seats have joined; start more agents", o.ranks,
                                                chosen.size() + others.size()));
  while (chosen.size() > o.ranks) remove_one(s, chosen);
  while (chosen.size() < o.ranks && add_one(s, chosen, others)) {
  }
  std::ranges::sort(chosen);
  return chosen;
}

status fits(const cluster_state& s, const std::vector<seat_id>& seats) {
  for (std::size_t m = 0; m < s.models.size(); ++m) {
    std::uint64_t room = 0;
    for (const auto seat : seats) room += s.seats[index_of(seat)].offer.capacity.models[m].slots_per_layer;
    if (room < s.models[m].description.experts)
      return fail(
          errc::does_not_fit,
          fmt::format("scale to {} does not fit: {} experts a layer need {} slots, {} seats hold {}; use more seats",
                      seats.size(), s.models[m].description.experts, s.models[m].description.experts, seats.size(),
                      room));
  }
  return {};
}

}  // namespace ballast::cluster
