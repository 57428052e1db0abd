#include <algorithm>
#include <cmath>

#include "coordinator/plans.hpp"

// Every expert with several replicas in turn levels the seats that hold it, as water fills a vessel; again and again
// until nothing changes. Each turn lowers sum(load^2 / speed), a convex function, so the rounds end at its least value;
// and of all ways to share loads out that one also has the lowest peak.
namespace ballast::cluster {
namespace {

constexpr int rounds_max = 60;
constexpr double settled = 1e-5;      // of a seat's mean load: a change that is none
constexpr double least_share = 1e-9;  // legal shares are positive

struct seat_load {
  double load = 0, speed = 1;
};

class layer_of_shares {
 public:
  layer_of_shares(layer_placement& layer, const std::vector<double>& loads,
                  const std::vector<policies::seat_info>& seats)
      : layer_(layer), loads_(loads) {
    std::uint32_t highest = 0;
    for (const auto& s : seats) highest = std::max(highest, index_of(s.seat));
    for (const auto& replicas : layer)
      for (const auto& r : replicas) highest = std::max(highest, index_of(r.seat));
    at_.resize(highest + 1);
    for (const auto& s : seats) at_[index_of(s.seat)].speed = s.speed;
    for (std::size_t e = 0; e < layer.size(); ++e) {
      for (const auto& r : layer[e]) at_[index_of(r.seat)].load += r.share * loads[e];
      if (layer[e].size() > 1 && loads[e] > 0) shared_.push_back(e);
      mean_ += loads[e] / static_cast<double>(std::max<std::size_t>(1, seats.size()));
    }
  }

  void solve() {
    for (int round = 0; round < rounds_max; ++round) {
      double change = 0;
      for (const auto e : shared_) change = std::max(change, level(layer_[e], loads_[e]));
      if (change <= settled * mean_) return;
    }
  }

 private:
  // Shares one expert's tokens out anew. Returns the greatest change of a seat's load.
  double level(std::vector<replica>& replicas, double tokens) {
    order_.clear();
    for (const auto& r : replicas) {
      auto& s = at_[index_of(r.seat)];
      s.load -= r.share * tokens;
      order_.push_back({s.load, s.speed});
    }
    std::ranges::sort(order_, {}, [](const seat_load& s) { return s.load / s.speed; });
    double surface = 0, speed = 0, below = 0;  // as if the first seats alone took part
    for (std::size_t i = 0; i < order_.size(); ++i) {
      speed += order_[i].speed;
      below += order_[i].load;
      surface = (tokens + below) / speed;
      if (i + 1 == order_.size() || surface <= order_[i + 1].load / order_[i + 1].speed) break;
    }
    double sum = 0, change = 0;
    new_.clear();
    for (const auto& r : replicas) {
      const auto& s = at_[index_of(r.seat)];
      new_.push_back(std::max(least_share, (surface * s.speed - s.load) / tokens));
      sum += new_.back();
    }
    for (std::size_t i = 0; i < replicas.size(); ++i) {
      const double share = std::min(1.0, new_[i] / sum);
      change = std::max(change, std::abs(share - replicas[i].share) * tokens);
      replicas[i].share = share;
      at_[index_of(replicas[i].seat)].load += share * tokens;
    }
    return change;
  }

  layer_placement& layer_;
  const std::vector<double>& loads_;
  std::vector<seat_load> at_;  // by seat id
  std::vector<std::size_t> shared_;
  std::vector<seat_load> order_;
  std::vector<double> new_;
  double mean_ = 0;
};

}  // namespace

placement with_solved_shares(placement p, const policies::placement_problem& problem) {
  for (std::size_t l = 0; l < p.layers.size() && l < problem.loads.size(); ++l)
    layer_of_shares(p.layers[l], problem.loads[l], problem.seats).solve();
  return p;
}

}  // namespace ballast::cluster
