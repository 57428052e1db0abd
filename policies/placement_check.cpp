// What makes a placement legal, how uneven its load is, and what is left of it without some seats.
#include "policies/placement_check.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

namespace ballast::policies {

namespace {

constexpr double share_tolerance = 1e-6;

std::unordered_map<std::uint32_t, std::size_t> index_by_seat(const std::vector<seat_info>& seats) {
  std::unordered_map<std::uint32_t, std::size_t> index;
  for (std::size_t i = 0; i < seats.size(); ++i) index.emplace(index_of(seats[i].seat), i);
  return index;
}

std::string at(std::size_t layer, std::size_t expert) {
  return "layer " + std::to_string(layer) + ", expert " + std::to_string(expert);
}

tl::unexpected<error> illegal(const std::string& text) { return fail(errc::invalid_argument, "placement: " + text); }

// One layer against the seats; `used[seat][slot]` and `held[seat]` are scratch for it.
class layer_check {
 public:
  layer_check(const std::vector<seat_info>& seats, bool at_rest, bool all_covered)
      : seats_(seats),
        at_rest_(at_rest),
        all_covered_(all_covered),
        index_(index_by_seat(seats)),
        used_(seats.size()),
        pages_(seats.size()) {}

  status operator()(const layer_placement& layer, std::size_t number) {
    held_.assign(seats_.size(), 0);
    for (std::size_t s = 0; s < seats_.size(); ++s) used_[s].assign(slot_entries(seats_[s].capacity), false);
    for (std::size_t e = 0; e < layer.size(); ++e) {
      if (auto ok = check_expert(layer[e], number, e); !ok) return ok;
    }
    for (std::size_t s = 0; s < seats_.size(); ++s) {
      const auto& room = seats_[s].capacity;
      const auto most = room.slots_per_layer + (at_rest_ ? 0 : room.spare_pages);
      if (held_[s] > most) {
        return fail(errc::does_not_fit, "placement: layer " + std::to_string(number) + " has " +
                                            std::to_string(held_[s]) + " replicas on seat " +
                                            std::to_string(index_of(seats_[s].seat)) + ", which holds " +
                                            std::to_string(most));
      }
      pages_[s] += held_[s];
    }
    return {};
  }

  status check_pages(std::size_t layers) const {
    for (std::size_t s = 0; s < seats_.size(); ++s) {
      const auto& room = seats_[s].capacity;
      const auto pool = static_cast<std::uint64_t>(layers) * room.slots_per_layer + room.spare_pages;
      if (pages_[s] > pool) {
        return fail(errc::does_not_fit, "placement: " + std::to_string(pages_[s]) + " replicas on seat " +
                                            std::to_string(index_of(seats_[s].seat)) + ", whose pool has " +
                                            std::to_string(pool) + " pages");
      }
    }
    return {};
  }

 private:
  status check_expert(const std::vector<replica>& replicas, std::size_t layer, std::size_t expert) {
    if (replicas.empty() && all_covered_) return illegal(at(layer, expert) + " has no replica");
    if (replicas.empty()) return {};
    double sum = 0;
    for (std::size_t i = 0; i < replicas.size(); ++i) {
      const auto& r = replicas[i];
      const auto where = [&] { return at(layer, expert) + ", seat " + std::to_string(index_of(r.seat)); };
      const auto found = index_.find(index_of(r.seat));
      if (found == index_.end()) return illegal(where() + " is not among the given seats");
      if (i > 0 && r.seat == replicas[i - 1].seat) return illegal(where() + " holds the expert twice");
      if (i > 0 && r.seat < replicas[i - 1].seat)
        return illegal(where() + " is not in order; replicas are sorted by seat");
      auto& used = used_[found->second];
      if (r.slot >= used.size()) {
        return illegal(where() + ": slot " + std::to_string(r.slot) + " is outside its table of " +
                       std::to_string(used.size()));
      }
      if (used[r.slot]) return illegal(where() + ": slot " + std::to_string(r.slot) + " holds two experts");
      used[r.slot] = true;
      if (!(r.share > 0 && r.share <= 1)) return illegal(where() + ": share is not in (0, 1]");
      ++held_[found->second];
      sum += r.share;
    }
    if (std::abs(sum - 1) > share_tolerance) {
      return illegal(at(layer, expert) + ", seat " + std::to_string(index_of(replicas[0].seat)) +
                     " and its other replicas: shares do not sum to 1");
    }
    return {};
  }

  const std::vector<seat_info>& seats_;
  bool at_rest_, all_covered_;
  std::unordered_map<std::uint32_t, std::size_t> index_;
  std::vector<std::vector<bool>> used_;
  std::vector<std::uint32_t> held_;
  std::vector<std::uint64_t> pages_;
};

}  // namespace

status validate(const placement& p, std::uint32_t layers, std::uint32_t experts, const std::vector<seat_info>& seats,
                bool at_rest) {
  return check_placement(p, layers, experts, seats, at_rest, true);
}

status check_placement(const placement& p, std::uint32_t layers, std::uint32_t experts,
                       const std::vector<seat_info>& seats, bool at_rest, bool all_covered) {
  if (p.layers.size() != layers) {
    return illegal("has " + std::to_string(p.layers.size()) + " layers, the model " + std::to_string(layers));
  }
  layer_check check(seats, at_rest, all_covered);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    if (p.layers[layer].size() != experts) {
      return illegal("layer " + std::to_string(layer) + " has " + std::to_string(p.layers[layer].size()) +
                     " experts, the model " + std::to_string(experts));
    }
    if (auto ok = check(p.layers[layer], layer); !ok) return ok;
  }
  return check.check_pages(layers);
}

imbalance_report imbalance(const placement& p, const load_matrix& loads, const std::vector<seat_info>& seats) {
  const auto index = index_by_seat(seats);
  double speed = 0;
  for (const auto& s : seats) speed += s.speed;
  imbalance_report report;
  report.layers.reserve(p.layers.size());
  std::vector<double> carried(seats.size());
  for (std::size_t layer = 0; layer < p.layers.size(); ++layer) {
    std::fill(carried.begin(), carried.end(), 0.0);
    const std::size_t experts = layer < loads.size() ? std::min(loads[layer].size(), p.layers[layer].size()) : 0;
    for (std::size_t e = 0; e < experts; ++e) {
      for (const auto& r : p.layers[layer][e]) {
        if (const auto found = index.find(index_of(r.seat)); found != index.end())
          carried[found->second] += loads[layer][e] * r.share;
      }
    }
    const double total = std::accumulate(carried.begin(), carried.end(), 0.0);
    double peak = 0;
    for (std::size_t s = 0; s < seats.size(); ++s) peak = std::max(peak, carried[s] / seats[s].speed);
    report.layers.push_back(total > 0 ? std::max(1.0, peak * speed / total) : 1.0);
  }
  if (report.layers.empty()) return report;
  report.mean =
      std::accumulate(report.layers.begin(), report.layers.end(), 0.0) / static_cast<double>(report.layers.size());
  report.max = *std::max_element(report.layers.begin(), report.layers.end());
  report.min = *std::min_element(report.layers.begin(), report.layers.end());
  return report;
}

survivors without_seats(const placement& p, const std::vector<seat_id>& gone) {
  survivors out{p, {}};
  for (std::uint32_t layer = 0; layer < out.left.layers.size(); ++layer) {
    for (std::uint32_t e = 0; e < out.left.layers[layer].size(); ++e) {
      auto& replicas = out.left.layers[layer][e];
      const auto before = replicas.size();
      std::erase_if(replicas,
                    [&](const replica& r) { return std::find(gone.begin(), gone.end(), r.seat) != gone.end(); });
      if (replicas.empty()) out.orphans.emplace_back(layer, e);
      if (replicas.empty() || replicas.size() == before) continue;
      double sum = 0;
      for (const auto& r : replicas) sum += r.share;
      for (auto& r : replicas) r.share = std::min(1.0, r.share / sum);
    }
  }
  return out;
}

}  // namespace ballast::policies
