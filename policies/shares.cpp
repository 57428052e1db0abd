#include "policies/shares.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <thread>

#include "policies/shares_flow.hpp"

namespace ballast::policies {

namespace {

tl::unexpected<error> bad(const std::string& text) { return fail(errc::invalid_argument, "shares: " + text); }

struct seat_table {
  std::vector<seat_id> ids;  // sorted
  std::vector<double> speed;
  double speed_sum = 0;

  static constexpr std::uint32_t none = ~0U;
  std::uint32_t find(seat_id seat) const {
    if (const auto guess = index_of(seat); guess < ids.size() && ids[guess] == seat)
      return guess;  // most seats are there
    const auto found = std::lower_bound(ids.begin(), ids.end(), seat);
    return found == ids.end() || *found != seat ? none : static_cast<std::uint32_t>(found - ids.begin());
  }
};

result<seat_table> table_of(std::vector<seat_info> seats) {
  if (seats.empty()) return bad("no seats are given; name those that serve");
  std::sort(seats.begin(), seats.end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
  seat_table out;
  for (const auto& s : seats) {
    const auto name = "seat " + std::to_string(index_of(s.seat));
    if (!out.ids.empty() && out.ids.back() == s.seat) return bad(name + " is named twice");
    if (!std::isfinite(s.speed) || s.speed <= 0) return bad("speed of " + name + " is not a number > 0");
    out.ids.push_back(s.seat);
    out.speed.push_back(s.speed);
    out.speed_sum += s.speed;
  }
  return out;
}

status check(const placement& p, const load_matrix& loads, const share_options& options) {
  if (!(options.gap >= 0 && options.gap <= 1)) return bad("gap is not in 0 ... 1");
  if (!(options.least > 0 && options.least <= 0.01)) return bad("least is not above 0 and at most 0.01");
  if (!(options.even >= 0 && options.even <= 1)) return bad("even is not in 0 ... 1");
  if (p.layers.size() != loads.size()) {
    return bad("the placement has " + std::to_string(p.layers.size()) + " layers, the loads " +
               std::to_string(loads.size()));
  }
  for (std::size_t layer = 0; layer < loads.size(); ++layer) {
    if (p.layers[layer].size() != loads[layer].size()) {
      return bad("layer " + std::to_string(layer) + " has " + std::to_string(p.layers[layer].size()) +
                 " experts, its loads " + std::to_string(loads[layer].size()));
    }
    bool good = true;
    for (const auto load : loads[layer]) good &= load >= 0 && load <= std::numeric_limits<double>::max();
    if (!good) return bad("layer " + std::to_string(layer) + " has a load that is no number >= 0");
  }
  return {};
}

class layer_solver {
 public:
  layer_solver(const seat_table& seats, const share_options& options) : seats_(seats), options_(options) {}

  layer_certificate operator()(layer_placement& layer, const std::vector<double>& loads) {
    collect(layer, loads);
    double total = 0;
    for (const auto b : base_) total += b;
    for (const auto& c : choices_) total += c.load;
    if (!(total > 0)) return {};
    flow_.use(graph_);
    const double bound =
        flow_.solve({choice_loads_.data(), base_.data(), seats_.speed.data()}, std::max(options_.gap / 2, 1e-12));
    apply(layer);
    double peak = 0;
    for (std::size_t s = 0; s < carried_.size(); ++s) peak = std::max(peak, carried_[s] / seats_.speed[s]);
    const double mean = total / seats_.speed_sum;
    return {peak / mean, std::min(bound, peak) / mean};
  }

 private:
  struct choice {  // an expert with several replicas here
    std::uint32_t expert;
    double part;  // of its tokens: what replicas elsewhere leave
    double load;  // that part's
  };

  void collect(layer_placement& layer, const std::vector<double>& loads) {
    graph_.clear(static_cast<std::uint32_t>(seats_.ids.size()));
    base_.assign(seats_.ids.size(), 0.0);
    choices_.clear();
    choice_loads_.clear();
    for (std::uint32_t e = 0; e < layer.size(); ++e) {
      auto& replicas = layer[e];
      if (replicas.size() == 1) {  // most experts
        if (const auto seat = seats_.find(replicas[0].seat); seat != seat_table::none) {
          replicas[0].share = 1;
          base_[seat] += loads[e];
        }
        continue;
      }
      const auto begin = graph_.rank.size();
      double elsewhere = 0;
      for (const auto& r : replicas) {
        const auto seat = seats_.find(r.seat);
        if (seat == seat_table::none) {
          elsewhere += r.share;
        } else {
          graph_.rank.push_back(seat);
        }
      }
      const auto here = graph_.rank.size() - begin;
      const double part = 1 - elsewhere;
      if (here > 1 && loads[e] > 0 && part > options_.least * static_cast<double>(here)) {
        graph_.close_expert();
        choices_.push_back({e, part, loads[e] * part});
        choice_loads_.push_back(loads[e] * part);
        continue;
      }
      graph_.rank.resize(begin);
      keep(replicas, here, part, loads[e]);
    }
    carried_ = base_;
  }

  // Nothing to choose.
  void keep(std::vector<replica>& replicas, std::size_t here, double part, double load) {
    for (auto& r : replicas) {
      const auto seat = seats_.find(r.seat);
      if (seat == seat_table::none) continue;
      if (part > 0) r.share = part / static_cast<double>(here);
      base_[seat] += load * r.share;
    }
  }

  void apply(layer_placement& layer) {
    for (std::uint32_t c = 0; c < choices_.size(); ++c) {
      const auto [expert, part, load] = choices_[c];
      auto k = graph_.first[c];
      const double even = options_.even / (graph_.first[c + 1] - k);
      double sum = 0;
      replica* largest = nullptr;
      for (auto& r : layer[expert]) {
        if (seats_.find(r.seat) == seat_table::none) continue;
        r.share = std::max((flow_.flow()[k++] / load * (1 - options_.even) + even) * part, options_.least);
        sum += r.share;
        if (largest == nullptr || r.share > largest->share) largest = &r;
      }
      largest->share += part - sum;
      k = graph_.first[c];
      for (const auto& r : layer[expert]) {
        if (seats_.find(r.seat) != seat_table::none) carried_[graph_.rank[k++]] += load * (r.share / part);
      }
    }
  }

  const seat_table& seats_;
  const share_options& options_;
  share_graph graph_;
  share_flow flow_;
  std::vector<choice> choices_;
  std::vector<double> choice_loads_;
  std::vector<double> base_, carried_;  // [seat] load
};

}  // namespace

result<solved_shares> solve_shares(placement p, const load_matrix& loads, const std::vector<seat_info>& seats,
                                   const share_options& options) {
  auto table = table_of(seats);
  if (!table) return fail(table.error());
  if (auto ok = check(p, loads, options); !ok) return fail(ok.error());
  solved_shares out{std::move(p), std::vector<layer_certificate>(loads.size())};
  const auto run = [&](std::size_t first, std::size_t step) {
    layer_solver solver(*table, options);
    for (auto layer = first; layer < loads.size(); layer += step)
      out.layers[layer] = solver(out.table.layers[layer], loads[layer]);
  };
  const auto threads = std::min<std::size_t>(std::max(1U, options.threads), loads.size());
  std::vector<std::jthread> others;
  for (std::size_t t = 1; t < threads; ++t) others.emplace_back(run, t, threads);
  if (threads > 0) run(0, threads);
  others.clear();
  return out;
}

}  // namespace ballast::policies
