#include "policies/wave_state.hpp"

#include <algorithm>
#include <limits>
#include <map>

namespace ballast::policies {

namespace {

constexpr std::size_t links_tried_max = 48;  // stageable adds looked at for the next link of a chain

}  // namespace

wave_state::wave_state(const placement& base, const placement& target, const std::vector<seat_info>& seats,
                       std::uint32_t adds_per_seat)
    : layers_(static_cast<std::uint32_t>(target.layers.size())),
      experts_(target.layers.empty() ? 0 : static_cast<std::uint32_t>(target.layers[0].size())),
      seats_(static_cast<std::uint32_t>(seats.size())),
      adds_per_seat_(adds_per_seat),
      held_(std::size_t{layers_} * experts_),
      wanted_(held_.size()),
      pending_on_(seats_),
      pending_of_(held_.size()),
      waiting_on_(seats_),
      used_(std::size_t{seats_} * layers_),
      pages_(seats_),
      copies_(used_.size()),
      staged_(used_.size()),
      waiting_(seats_),
      waiting_in_(used_.size()),
      may_stage_(seats_),
      chosen_of_(held_.size()) {
  std::map<seat_id, std::uint32_t> index;
  for (std::uint32_t s = 0; s < seats_; ++s) {
    const auto& room = seats[s].capacity;
    index[seats[s].seat] = s;
    entries_.push_back(slot_entries(room));
    pool_.push_back(std::uint64_t{layers_} * room.slots_per_layer + room.spare_pages);
    for (std::uint32_t l = 0; l < layers_; ++l) used_[cell(s, l)].assign(entries_[s], false);
  }
  for (std::uint32_t key = 0; key < held_.size(); ++key) {
    for (const auto& r : base.layers[layer_of(key)][expert_of(key)]) {
      put_copy(key, {index[r.seat], r.slot});
      used_[cell(index[r.seat], layer_of(key))][r.slot] = true;
    }
    for (const auto& r : target.layers[layer_of(key)][expert_of(key)]) wanted_[key].push_back(index[r.seat]);
  }
  find_work(target);
}

void wave_state::find_work(const placement& target) {
  for (std::uint32_t key = 0; key < held_.size(); ++key) {
    const auto holds = [&](std::uint32_t s) {
      return std::any_of(held_[key].begin(), held_[key].end(), [&](const auto& c) { return c.seat == s; });
    };
    for (std::size_t i = 0; i < wanted_[key].size(); ++i) {
      const auto s = wanted_[key][i];
      if (holds(s)) continue;
      const auto id = static_cast<std::uint32_t>(adds_.size());
      adds_.push_back({key, s, target.layers[layer_of(key)][expert_of(key)][i].slot, false});
      pending_on_[s].push_back(id);
      pending_of_[key].push_back(id);
    }
    const bool somewhere_wanted =
        std::any_of(held_[key].begin(), held_[key].end(), [&](const auto& c) { return wanted(key, c.seat); });
    std::uint32_t keep = no_index;  // the one that holds the fort: where there is most room
    for (const auto& c : held_[key]) {
      const auto spare = [&](std::uint32_t s) {
        return static_cast<std::int64_t>(pool_[s]) - static_cast<std::int64_t>(pages_[s]);
      };
      if (!somewhere_wanted && (keep == no_index || spare(c.seat) > spare(keep))) keep = c.seat;
    }
    for (const auto& c : held_[key]) {
      if (wanted(key, c.seat)) continue;
      if (c.seat != keep) {
        free_drops_.emplace_back(key, c.seat);
      } else {
        waiting_on_[c.seat].push_back(key);
        ++waiting_[c.seat];
        ++waiting_in_[cell(c.seat, layer_of(key))];
      }
    }
  }
  pending_ = adds_.size();
}

bool wave_state::wanted(std::uint32_t key, std::uint32_t seat) const {
  return std::binary_search(wanted_[key].begin(), wanted_[key].end(), seat);
}

void wave_state::begin_wave() {
  chosen_.clear();
  pages_then_ = pages_;
  copies_then_ = copies_;
  for (std::uint32_t s = 0; s < seats_; ++s) {
    const auto spare = pool_[s] > pages_[s] ? pool_[s] - pages_[s] : 0;
    may_stage_[s] = adds_per_seat_ == 0 ? spare : std::min<std::uint64_t>(spare, adds_per_seat_);
  }
  for (const auto& [key, s] : free_drops_) {
    --pages_then_[s];
    --copies_then_[cell(s, layer_of(key))];
  }
}

bool wave_state::stageable(std::uint32_t id) const {
  const auto& a = adds_[id];
  const auto at = cell(a.seat, layer_of(a.key));
  return !a.chosen && may_stage_[a.seat] > 0 && copies_[at] + staged_[at] < entries_[a.seat];
}

bool wave_state::settled(std::uint32_t seat, std::uint32_t layer) const {
  const auto at = cell(seat, layer);
  return (pages_then_[seat] < pool_[seat] || waiting_[seat] == 0) &&
         (copies_then_[at] < entries_[seat] || waiting_in_[at] == 0);
}

bool wave_state::full(std::uint32_t seat) const {
  if (waiting_[seat] == 0) return false;
  if (pages_then_[seat] >= pool_[seat]) return true;
  for (std::uint32_t l = 0; l < layers_; ++l) {
    if (!settled(seat, l)) return true;
  }
  return false;
}

// The waiting copies of an expert can go (sign -1) once one of its adds is part of the wave.
void wave_state::release(std::uint32_t key, std::int32_t sign) {
  for (const auto& c : held_[key]) {
    if (wanted(key, c.seat)) continue;
    const auto& waiting = waiting_on_[c.seat];
    if (!std::binary_search(waiting.begin(), waiting.end(), key)) continue;  // a free drop, counted already
    const auto at = cell(c.seat, layer_of(key));
    pages_then_[c.seat] += static_cast<std::uint64_t>(sign);
    copies_then_[at] += static_cast<std::uint32_t>(sign);
    waiting_[c.seat] += static_cast<std::uint32_t>(sign);
    waiting_in_[at] += static_cast<std::uint32_t>(sign);
  }
}

void wave_state::apply(std::uint32_t id) {
  auto& a = adds_[id];
  const auto at = cell(a.seat, layer_of(a.key));
  a.chosen = true;
  --may_stage_[a.seat];
  ++staged_[at];
  ++pages_then_[a.seat];
  ++copies_then_[at];
  if (chosen_of_[a.key]++ == 0) release(a.key, -1);
}

void wave_state::undo(std::uint32_t id) {
  auto& a = adds_[id];
  const auto at = cell(a.seat, layer_of(a.key));
  a.chosen = false;
  ++may_stage_[a.seat];
  --staged_[at];
  --pages_then_[a.seat];
  --copies_then_[at];
  if (--chosen_of_[a.key] == 0) release(a.key, +1);
}

// The add that lets a waiting copy leave `seat`: in `layer` if that table is full, else of any layer. If all such adds
// go to seats that the path itself has used up, cycle_from says where on the path the cycle would begin.
std::uint32_t wave_state::next_link(std::uint32_t seat, std::uint32_t layer, const std::vector<std::uint32_t>& path,
                                    std::size_t& cycle_from) const {
  const auto at = cell(seat, layer);
  const bool same_layer = copies_then_[at] >= entries_[seat];
  std::uint32_t possible = no_index, cyclic = no_index;
  std::size_t tried = 0;
  for (const auto key : waiting_on_[seat]) {
    if (chosen_of_[key] > 0 || (same_layer && layer_of(key) != layer)) continue;
    for (const auto id : pending_of_[key]) {
      if (++tried > links_tried_max) return possible != no_index ? possible : cyclic;
      const auto& a = adds_[id];
      if (!stageable(id)) {
        for (std::size_t i = 0; i < path.size() && cyclic == no_index; ++i) {
          if (adds_[path[i]].seat == a.seat) cyclic = id, cycle_from = i + 1;
        }
        continue;
      }
      if (pages_then_[a.seat] + 1 < pool_[a.seat] || waiting_[a.seat] == 0) return id;  // the chain can end there
      if (possible == no_index) possible = id;
    }
  }
  return possible != no_index ? possible : cyclic;
}

// The chain came back to a seat: what led up to the cycle is left for a later wave.
bool wave_state::close_cycle(std::vector<std::uint32_t>& path, std::uint32_t last, std::size_t from) {
  for (std::size_t i = 0; i < from; ++i) undo(path[i]);
  path.erase(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(from));
  if (!stageable(last)) return false;
  apply(last);
  path.push_back(last);
  return std::all_of(path.begin(), path.end(),
                     [&](auto id) { return settled(adds_[id].seat, layer_of(adds_[id].key)); });
}

bool wave_state::try_chain(std::uint32_t first) {
  std::vector<std::uint32_t> path;
  bool good = false;
  auto id = first;
  while (id != no_index && stageable(id)) {
    apply(id);
    path.push_back(id);
    const auto seat = adds_[id].seat, layer = layer_of(adds_[id].key);
    if (settled(seat, layer)) {
      good = true;
      break;
    }
    std::size_t cycle_from = 0;
    id = next_link(seat, layer, path, cycle_from);
    if (id != no_index && !stageable(id)) {
      good = close_cycle(path, id, cycle_from);
      break;
    }
  }
  if (good)
    chosen_.insert(chosen_.end(), path.begin(), path.end());
  else
    for (const auto a : path) undo(a);
  return good;
}

bool wave_state::try_single(std::uint32_t id) {
  if (!stageable(id)) return false;
  apply(id);
  chosen_.push_back(id);
  return true;
}

void wave_state::end_wave() {
  for (const auto id : chosen_) {
    auto& a = adds_[id];
    std::erase(pending_of_[a.key], id);
    std::erase(pending_on_[a.seat], id);
    chosen_of_[a.key] = 0;
    staged_[cell(a.seat, layer_of(a.key))] = 0;
    --pending_;
  }
  chosen_.clear();
}

std::uint32_t wave_state::take_slot(std::uint32_t id) {
  const auto& a = adds_[id];
  auto& used = used_[cell(a.seat, layer_of(a.key))];
  auto slot = a.slot;
  if (slot >= used.size() || used[slot])
    slot = static_cast<std::uint32_t>(std::find(used.begin(), used.end(), false) - used.begin());
  used[slot] = true;
  return slot;
}

void wave_state::put_copy(std::uint32_t key, held_copy copy) {
  auto& copies = held_[key];
  copies.insert(
      std::lower_bound(copies.begin(), copies.end(), copy.seat, [](const auto& c, auto s) { return c.seat < s; }),
      copy);
  ++pages_[copy.seat];
  ++copies_[cell(copy.seat, layer_of(key))];
}

void wave_state::drop_copy(std::uint32_t key, std::uint32_t seat) {
  const auto found = std::find_if(held_[key].begin(), held_[key].end(), [&](const auto& c) { return c.seat == seat; });
  used_[cell(seat, layer_of(key))][found->slot] = false;
  held_[key].erase(found);
  --pages_[seat];
  --copies_[cell(seat, layer_of(key))];
  auto& waiting = waiting_on_[seat];  // the counters went down when the drop was released
  if (const auto at = std::lower_bound(waiting.begin(), waiting.end(), key); at != waiting.end() && *at == key)
    waiting.erase(at);
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> wave_state::take_free_drops() {
  return std::exchange(free_drops_, {});
}

}  // namespace ballast::policies
