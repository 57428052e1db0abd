#include "policies/layer_state.hpp"

#include <algorithm>
#include <numeric>

namespace ballast::policies {

namespace {

void insert_sorted(std::vector<std::uint32_t>& into, std::uint32_t value) {
  into.insert(std::lower_bound(into.begin(), into.end(), value), value);
}
void erase_sorted(std::vector<std::uint32_t>& from, std::uint32_t value) {
  from.erase(std::lower_bound(from.begin(), from.end(), value));
}

}  // namespace

layer_state::layer_state(const std::vector<double>& weights, const seat_table& seats)
    : weights_(&weights),
      seats_(&seats),
      holders_(weights.size()),
      on_(seats.size()),
      holds_(seats.size() * weights.size()),
      load_(seats.size()),
      time_(seats.size()),
      each_(weights),
      total_(std::accumulate(weights.begin(), weights.end(), 0.0)) {}

void layer_state::spread(std::uint32_t expert, double sign) {
  if (holders_[expert].empty()) return;
  each_[expert] = weight(expert) / copies(expert);
  for (const auto s : holders_[expert]) {
    load_[s] += sign * each_[expert];
    time_[s] = load_[s] / seats_->speed[s];
  }
}

void layer_state::add(std::uint32_t expert, std::uint32_t seat) {
  spread(expert, -1);
  insert_sorted(holders_[expert], seat);
  insert_sorted(on_[seat], expert);
  holds_[seat * experts() + expert] = 1;
  ++replicas_;
  spread(expert, +1);
}

void layer_state::remove(std::uint32_t expert, std::uint32_t seat) {
  spread(expert, -1);
  erase_sorted(holders_[expert], seat);
  erase_sorted(on_[seat], expert);
  holds_[seat * experts() + expert] = 0;
  --replicas_;
  load_[seat] = on_[seat].empty() ? 0 : load_[seat];  // no residue of rounding on an empty seat
  time_[seat] = load_[seat] / seats_->speed[seat];
  spread(expert, +1);
}

std::uint32_t layer_state::slowest() const {
  std::uint32_t best = 0;
  for (std::uint32_t s = 1; s < load_.size(); ++s) {
    if (time(s) > time(best)) best = s;
  }
  return best;
}

}  // namespace ballast::policies
