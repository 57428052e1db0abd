#include "policies/shares_flow.hpp"

#include <algorithm>

namespace ballast::policies {

// Who owns an edge, and the edges of each rank.
void share_flow::index(const share_graph& g) {
  ranks_ = static_cast<std::uint32_t>(g.base.size());
  experts_ = static_cast<std::uint32_t>(g.load.size());
  const auto edges = g.rank.size();
  rank_of_ = g.rank;
  expert_of_.resize(edges);
  edges_first_.assign(ranks_ + 2, 0U);
  for (std::uint32_t e = 0; e < experts_; ++e) {
    for (auto k = g.first[e]; k < g.first[e + 1]; ++k) {
      expert_of_[k] = e;
      ++edges_first_[g.rank[k] + 2];
    }
  }
  for (std::uint32_t r = 2; r < ranks_ + 2; ++r) edges_first_[r] += edges_first_[r - 1];
  edges_.resize(edges);
  for (std::uint32_t k = 0; k < edges; ++k) edges_[edges_first_[g.rank[k] + 1]++] = k;
}

// Leaves first: what a leaf's edge can take, it may as well. Edges that close a cycle come last.
void share_flow::order_edges() {
  const auto edges = static_cast<std::uint32_t>(rank_of_.size());
  degree_.assign(ranks_ + experts_, 0U);
  open_edges_.assign(ranks_ + experts_, 0U);
  taken_.assign(edges, 0);
  order_.clear();
  extra_.clear();
  leaves_.clear();
  for (std::uint32_t k = 0; k < edges; ++k) {
    for (const auto node : {rank_of_[k], ranks_ + expert_of_[k]}) {
      ++degree_[node];
      open_edges_[node] ^= k;
    }
  }
  for (std::uint32_t node = 0; node < ranks_ + experts_; ++node) {
    if (degree_[node] == 1) leaves_.push_back(node);
  }
  std::uint32_t next = 0;
  while (true) {
    while (!leaves_.empty()) {
      const auto node = leaves_.back();
      leaves_.pop_back();
      if (degree_[node] != 1) continue;
      const auto edge = open_edges_[node];
      order_.push_back(edge);
      take(edge);
    }
    while (next < edges && taken_[next] != 0) ++next;
    if (next == edges) break;
    extra_.push_back(next);
    take(next);
  }
  order_.insert(order_.end(), extra_.begin(), extra_.end());
}

void share_flow::take(std::uint32_t edge) {
  taken_[edge] = 1;
  for (const auto node : {rank_of_[edge], ranks_ + expert_of_[edge]}) {
    open_edges_[node] ^= edge;
    if (--degree_[node] == 1) leaves_.push_back(node);
  }
}

// The connected parts, as the first classes.
void share_flow::find_parts(const share_graph& g) {
  parts_.resize(ranks_);
  for (std::uint32_t r = 0; r < ranks_; ++r) parts_[r] = r;
  const auto root = [&](std::uint32_t r) {
    while (parts_[r] != r) r = parts_[r] = parts_[parts_[r]];
    return r;
  };
  for (std::uint32_t e = 0; e < experts_; ++e) {
    auto one = root(g.rank[g.first[e]]);
    for (auto k = g.first[e] + 1; k < g.first[e + 1]; ++k) {
      const auto other = root(g.rank[k]);
      parts_[std::max(one, other)] = std::min(one, other);
      one = std::min(one, other);
    }
  }
  classes_.clear();
  class_of_rank_.resize(ranks_);
  class_of_expert_.resize(experts_);
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    const auto top = root(r);
    if (top == r) classes_.emplace_back();
    class_of_rank_[r] = top == r ? static_cast<std::uint32_t>(classes_.size()) - 1 : class_of_rank_[top];
  }
  for (std::uint32_t e = 0; e < experts_; ++e) class_of_expert_[e] = class_of_rank_[g.rank[g.first[e]]];
}

void share_flow::set_levels(const share_graph& g) {
  class_load_.assign(classes_.size(), 0.0);
  class_speed_.assign(classes_.size(), 0.0);
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    class_load_[class_of_rank_[r]] += g.base[r];
    class_speed_[class_of_rank_[r]] += g.speed[r];
  }
  for (std::uint32_t e = 0; e < experts_; ++e) class_load_[class_of_expert_[e]] += g.load[e];
  for (std::size_t c = 0; c < classes_.size(); ++c) classes_[c].level = class_load_[c] / class_speed_[c];
}

void share_flow::push(std::uint32_t edge, double amount) {
  flow_[edge] += amount;
  left_[expert_of_[edge]] -= amount;
  room_[rank_of_[edge]] -= amount;
}

// A maximum flow within every class that is not balanced yet, but for cycles.
void share_flow::fill(const share_graph& g) {
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    const auto& c = classes_[class_of_rank_[r]];
    if (c.dirty) room_[r] = c.level * g.speed[r] - g.base[r];
    over_rank_[r] = c.dirty && room_[r] < -excess_min_;
  }
  for (std::uint32_t e = 0; e < experts_; ++e) {
    if (!classes_[class_of_expert_[e]].dirty) continue;
    left_[e] = g.load[e];
    for (auto k = g.first[e]; k < g.first[e + 1]; ++k) flow_[k] = 0;
  }
  for (const auto k : order_) {
    if (!active(k) || !classes_[class_of_expert_[expert_of_[k]]].dirty) continue;
    const double amount = std::min(left_[expert_of_[k]], room_[rank_of_[k]]);
    if (amount > 0) push(k, amount);
  }
}

// From an expert with load left to a rank with room, through experts that can hand on some of theirs. False if there is
// no such way: then what was seen is overfull.
bool share_flow::reach(const share_graph& g, std::uint32_t expert) {
  ++search_;
  queue_.clear();
  seen_expert_[expert] = search_;
  if (visit_ranks(g, expert)) return true;
  for (std::size_t at = 0; at < queue_.size(); ++at) {
    const auto rank = queue_[at];
    for (auto i = edges_first_[rank]; i < edges_first_[rank + 1]; ++i) {
      const auto k = edges_[i];
      const auto other = expert_of_[k];
      if (!active(k) || !(flow_[k] > 0) || seen_expert_[other] == search_) continue;
      seen_expert_[other] = search_;
      came_to_expert_[other] = k;
      if (visit_ranks(g, other)) return true;
    }
  }
  for (const auto rank : queue_) over_rank_[rank] = 1;
  return false;
}

// The ranks of an expert into the queue; true if one has room, and then it got some.
bool share_flow::visit_ranks(const share_graph& g, std::uint32_t expert) {
  for (auto k = g.first[expert]; k < g.first[expert + 1]; ++k) {
    const auto rank = rank_of_[k];
    if (!active(k) || over_rank_[rank] != 0 || seen_rank_[rank] == search_) continue;
    seen_rank_[rank] = search_;
    came_to_rank_[rank] = k;
    if (room_[rank] > slack_min_) {
      augment(rank);
      return true;
    }
    queue_.push_back(rank);
  }
  return false;
}

void share_flow::augment(std::uint32_t rank) {
  double amount = room_[rank];
  auto k = came_to_rank_[rank];
  for (auto e = expert_of_[k]; came_to_expert_[e] != none; e = expert_of_[k]) {
    amount = std::min(amount, flow_[came_to_expert_[e]]);
    k = came_to_rank_[rank_of_[came_to_expert_[e]]];
  }
  const auto source = expert_of_[k];
  amount = std::min(amount, left_[source]);
  for (k = came_to_rank_[rank];;) {
    push(k, amount);
    const auto e = expert_of_[k];
    if (e == source) break;
    push(came_to_expert_[e], -amount);
    k = came_to_rank_[rank_of_[came_to_expert_[e]]];
  }
}

void share_flow::find_overfull(const share_graph& g) {
  for (std::uint32_t e = 0; e < experts_; ++e) {
    if (!classes_[class_of_expert_[e]].dirty) continue;
    came_to_expert_[e] = none;
    while (left_[e] > excess_min_ && reach(g, e)) {
    }
  }
}

// Overfull ranks, and the experts that are only there, become classes of their own. False if there are none.
bool share_flow::split(const share_graph& g) {
  const auto before = static_cast<std::uint32_t>(classes_.size());
  moved_to_.assign(before, none);
  staying_.assign(before, 0U);
  for (std::uint32_t r = 0; r < ranks_; ++r) staying_[class_of_rank_[r]] += over_rank_[r] == 0;
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    const auto c = class_of_rank_[r];
    if (over_rank_[r] == 0 || staying_[c] == 0) continue;
    if (moved_to_[c] == none) {
      moved_to_[c] = static_cast<std::uint32_t>(classes_.size());
      classes_.push_back({0, true, classes_[c].closed});
    }
  }
  for (std::uint32_t e = 0; e < experts_; ++e) {
    const auto c = class_of_expert_[e];
    if (moved_to_[c] == none) continue;
    bool inside = true, touches = false;
    for (auto k = g.first[e]; k < g.first[e + 1]; ++k) {
      if (!active(k)) continue;
      inside = inside && over_rank_[rank_of_[k]] != 0;
      touches = touches || over_rank_[rank_of_[k]] != 0;
    }
    over_expert_[e] = inside;
    if (touches && !inside) classes_[c].closed = false;
  }
  for (std::uint32_t c = 0; c < before; ++c) classes_[c].dirty = moved_to_[c] != none;
  for (std::uint32_t e = 0; e < experts_; ++e) {
    auto& c = class_of_expert_[e];
    if (moved_to_[c] != none && over_expert_[e] != 0) c = moved_to_[c];
  }
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    auto& c = class_of_rank_[r];
    if (moved_to_[c] != none && over_rank_[r] != 0) c = moved_to_[c];
  }
  return classes_.size() > before;
}

// What little was left within the tolerance goes where most is already.
void share_flow::hand_out_rest(const share_graph& g) {
  for (std::uint32_t e = 0; e < experts_; ++e) {
    if (left_[e] == 0) continue;
    auto most = none;
    for (auto k = g.first[e]; k < g.first[e + 1]; ++k) {
      if (active(k) && (most == none || room_[rank_of_[k]] > room_[rank_of_[most]])) most = k;
    }
    push(most, left_[e]);
  }
}

double share_flow::solve(const share_graph& g, double tolerance) {
  index(g);
  order_edges();
  find_parts(g);
  set_levels(g);
  double load = 0, speed = 0;
  for (std::size_t c = 0; c < classes_.size(); ++c) load += class_load_[c], speed += class_speed_[c];
  const double slowest = *std::min_element(g.speed.begin(), g.speed.end());
  excess_min_ = tolerance * load / speed * slowest / (experts_ + 1.0);
  slack_min_ = excess_min_ / (ranks_ + 1.0);
  flow_.assign(rank_of_.size(), 0.0);
  left_.assign(experts_, 0.0);
  room_.assign(ranks_, 0.0);
  over_rank_.assign(ranks_, 0);
  over_expert_.assign(experts_, 0);
  seen_rank_.assign(ranks_, 0U);
  seen_expert_.assign(experts_, 0U);
  came_to_rank_.assign(ranks_, none);
  came_to_expert_.assign(experts_, none);
  search_ = 0;
  while (true) {
    fill(g);
    find_overfull(g);
    if (!split(g)) break;
    set_levels(g);
  }
  hand_out_rest(g);
  double bound = load / speed;
  for (const auto& c : classes_) bound = c.closed ? std::max(bound, c.level) : bound;
  return bound;
}

}  // namespace ballast::policies
