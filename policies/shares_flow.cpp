#include "policies/shares_flow.hpp"

#include <algorithm>

namespace ballast::policies {

void share_flow::use(const share_graph& graph) {
  graph_ = &graph;
  index();
  order_edges();
  find_parts();
  flow_.resize(graph.rank.size());
  left_.resize(experts_);
  room_.resize(ranks_);
  over_rank_.resize(ranks_);
  seen_rank_.assign(ranks_, 0U);
  seen_expert_.assign(experts_, 0U);
  came_to_rank_.assign(ranks_, none);
  came_to_expert_.assign(experts_, none);
  search_ = 0;
}

// Who owns an edge, and the edges of each rank.
void share_flow::index() {
  const auto& g = *graph_;
  ranks_ = g.ranks;
  experts_ = g.experts();
  const auto edges = static_cast<std::uint32_t>(g.rank.size());
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
  const auto edges = static_cast<std::uint32_t>(expert_of_.size());
  degree_.assign(ranks_ + experts_, 0U);
  open_edges_.assign(ranks_ + experts_, 0U);
  taken_.assign(edges, 0);
  order_.clear();
  extra_.clear();
  leaves_.clear();
  for (std::uint32_t k = 0; k < edges; ++k) {
    for (const auto node : {rank_of(k), ranks_ + expert_of_[k]}) {
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
  filling_.clear();
  for (const auto k : order_) filling_.push_back({k, expert_of_[k], rank_of(k)});
}

void share_flow::take(std::uint32_t edge) {
  taken_[edge] = 1;
  for (const auto node : {rank_of(edge), ranks_ + expert_of_[edge]}) {
    open_edges_[node] ^= edge;
    if (--degree_[node] == 1) leaves_.push_back(node);
  }
}

// The connected parts, as the first classes.
void share_flow::find_parts() {
  const auto& g = *graph_;
  part_of_rank_.resize(ranks_);
  for (std::uint32_t r = 0; r < ranks_; ++r) part_of_rank_[r] = r;
  const auto root = [&](std::uint32_t r) {
    while (part_of_rank_[r] != r) r = part_of_rank_[r] = part_of_rank_[part_of_rank_[r]];
    return r;
  };
  for (std::uint32_t e = 0; e < experts_; ++e) {
    auto one = root(g.rank[g.first[e]]);
    for (auto k = g.first[e] + 1; k < g.first[e + 1]; ++k) {
      const auto other = root(g.rank[k]);
      part_of_rank_[std::max(one, other)] = std::min(one, other);
      one = std::min(one, other);
    }
  }
  parts_ = 0;
  for (std::uint32_t r = 0; r < ranks_; ++r) {  // a root is the lowest of its part
    const auto up = part_of_rank_[r];
    part_of_rank_[r] = up == r ? parts_++ : part_of_rank_[up];
  }
}

void share_flow::set_levels(const share_loads& l) {
  for (auto& c : classes_) c.load = c.speed = 0;
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    auto& c = classes_[class_of_rank_[r]];
    c.load += l.base[r];
    c.speed += l.speed[r];
  }
  for (std::uint32_t e = 0; e < experts_; ++e) classes_[class_of_expert_[e]].load += l.expert[e];
  for (auto& c : classes_) c.level = c.load / c.speed;
}

void share_flow::push(std::uint32_t edge, double amount) {
  flow_[edge] += amount;
  left_[expert_of_[edge]] -= amount;
  room_[rank_of(edge)] -= amount;
}

// A maximum flow within every class that is not balanced yet, but for cycles.
void share_flow::fill(const share_loads& l) {
  const auto& first = graph_->first;
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    const auto& c = classes_[class_of_rank_[r]];
    if (c.dirty) room_[r] = c.level * l.speed[r] - l.base[r];
    over_rank_[r] = c.dirty && room_[r] < -excess_min_;
  }
  for (std::uint32_t e = 0; e < experts_; ++e) {
    if (!dirty_expert(e)) continue;
    left_[e] = l.expert[e];
    for (auto k = first[e]; k < first[e + 1]; ++k) flow_[k] = 0;
  }
  for (const auto& [edge, expert, rank] : filling_) {
    const auto c = class_of_expert_[expert];
    if (c != class_of_rank_[rank] || !classes_[c].dirty) continue;
    const double amount = std::max(std::min(left_[expert], room_[rank]), 0.0);
    flow_[edge] = amount;
    left_[expert] -= amount;
    room_[rank] -= amount;
  }
}

void share_flow::find_overfull() {
  for (std::uint32_t e = 0; e < experts_; ++e) {
    if (!dirty_expert(e)) continue;
    came_to_expert_[e] = none;
    while (left_[e] > excess_min_ && reach(e)) {
    }
  }
}

// From an expert with load left to a rank with room, through experts that can hand on some of theirs. False if there is
// no such way: then what was seen is overfull.
bool share_flow::reach(std::uint32_t expert) {
  ++search_;
  queue_.clear();
  seen_expert_[expert] = search_;
  if (visit_ranks(expert)) return true;
  for (std::size_t at = 0; at < queue_.size(); ++at) {
    const auto rank = queue_[at];
    for (auto i = edges_first_[rank]; i < edges_first_[rank + 1]; ++i) {
      const auto k = edges_[i];
      const auto other = expert_of_[k];
      if (!active(k) || !(flow_[k] > 0) || seen_expert_[other] == search_) continue;
      seen_expert_[other] = search_;
      came_to_expert_[other] = k;
      if (visit_ranks(other)) return true;
    }
  }
  for (const auto rank : queue_) over_rank_[rank] = 1;
  return false;
}

// The ranks of an expert into the queue; true if one has room, and then it got some.
bool share_flow::visit_ranks(std::uint32_t expert) {
  for (auto k = graph_->first[expert]; k < graph_->first[expert + 1]; ++k) {
    const auto rank = rank_of(k);
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
  while (came_to_expert_[expert_of_[k]] != none) {
    const auto back = came_to_expert_[expert_of_[k]];
    amount = std::min(amount, flow_[back]);
    k = came_to_rank_[rank_of(back)];
  }
  const auto source = expert_of_[k];
  amount = std::min(amount, left_[source]);
  for (k = came_to_rank_[rank];;) {
    push(k, amount);
    if (expert_of_[k] == source) break;
    const auto back = came_to_expert_[expert_of_[k]];
    push(back, -amount);
    k = came_to_rank_[rank_of(back)];
  }
}

bool share_flow::all_overfull(std::uint32_t expert) {
  bool inside = true, touches = false;
  for (auto k = graph_->first[expert]; k < graph_->first[expert + 1]; ++k) {
    if (!active(k)) continue;
    (over_rank_[rank_of(k)] != 0 ? touches : inside) = over_rank_[rank_of(k)] != 0;
  }
  if (touches && !inside) classes_[class_of_expert_[expert]].closed = false;
  return inside;
}

// Overfull ranks, and the experts that are only there, become classes of their own. False if there are none.
bool share_flow::split() {
  const auto before = static_cast<std::uint32_t>(classes_.size());
  for (auto& c : classes_) c.staying = 0, c.dirty = c.splits = false;
  for (std::uint32_t r = 0; r < ranks_; ++r) classes_[class_of_rank_[r]].staying += over_rank_[r] == 0;
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    const auto c = class_of_rank_[r];
    if (over_rank_[r] == 0 || classes_[c].staying == 0 || classes_[c].splits) continue;
    ranks_class part;
    part.closed = classes_[c].closed;
    classes_[c].splits = classes_[c].dirty = true;
    classes_[c].moved_to = static_cast<std::uint32_t>(classes_.size());
    classes_.push_back(part);
  }
  if (classes_.size() == before) return false;
  for (std::uint32_t e = 0; e < experts_; ++e) {
    auto& c = class_of_expert_[e];
    if (classes_[c].splits && all_overfull(e)) c = classes_[c].moved_to;
  }
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    const auto& c = classes_[class_of_rank_[r]];
    if (c.splits && over_rank_[r] != 0) class_of_rank_[r] = c.moved_to;
  }
  return true;
}

// What little was left within the tolerance goes where there is most room.
void share_flow::hand_out_rest() {
  for (std::uint32_t e = 0; e < experts_; ++e) {
    if (left_[e] == 0) continue;
    auto most = none;
    for (auto k = graph_->first[e]; k < graph_->first[e + 1]; ++k) {
      if (active(k) && (most == none || room_[rank_of(k)] > room_[rank_of(most)])) most = k;
    }
    push(most, left_[e]);
  }
}

double share_flow::solve(const share_loads& l, double tolerance) {
  class_of_rank_ = part_of_rank_;
  class_of_expert_.resize(experts_);
  for (std::uint32_t e = 0; e < experts_; ++e) class_of_expert_[e] = part_of_rank_[rank_of(graph_->first[e])];
  classes_.assign(parts_, {});
  set_levels(l);
  double load = 0, speed = 0, slowest = l.speed[0];
  for (const auto& c : classes_) load += c.load, speed += c.speed;
  for (std::uint32_t r = 0; r < ranks_; ++r) slowest = std::min(slowest, l.speed[r]);
  excess_min_ = tolerance * load / speed * slowest / (experts_ + 1.0);
  slack_min_ = excess_min_ / (ranks_ + 1.0);
  while (true) {
    fill(l);
    find_overfull();
    if (!split()) break;
    set_levels(l);
  }
  hand_out_rest();
  double bound = load / speed;
  for (const auto& c : classes_) bound = c.closed ? std::max(bound, c.level) : bound;
  return bound;
}

}  // namespace ballast::policies
