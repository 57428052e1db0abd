// The shares of one layer as a flow on flat arrays: experts with a choice send their load to ranks. Private to
// policies/.
//
// A class of ranks, and of experts that are split over them only, is balanced when every rank of it ends at the same
// time. Starting from the connected parts of the graph, a class that cannot be balanced has a set of ranks with more
// load than they can hand on (a minimum cut); it splits in two there, and so on. What results is the lexicographically
// best division (Fujishige 1980). Each class costs one maximum flow; the graph is nearly a forest, where filling edges
// in the order of the leaves is a maximum flow already, and paths that augment it are looked for only beyond that.
#pragma once

#include <cstdint>
#include <vector>

namespace ballast::policies {

// Which ranks the experts with several replicas are on. Experts with one replica are part of the ranks' base load.
struct share_graph {
  std::uint32_t ranks = 0;
  std::vector<std::uint32_t> first{0};  // [expert] its first edge; one more
  std::vector<std::uint32_t> rank;      // [edge] distinct within an expert

  std::uint32_t experts() const { return static_cast<std::uint32_t>(first.size()) - 1; }
  void clear(std::uint32_t rank_count) {
    ranks = rank_count;
    first.assign(1, 0U);
    rank.clear();
  }
  void close_expert() {
    first.push_back(static_cast<std::uint32_t>(rank.size()));
  }  // its edges were appended to `rank`
};

// Loads of one layer: of the experts of a graph, and what lies on its ranks anyway. Numbers >= 0, speeds > 0.
struct share_loads {
  const double *expert, *base, *speed;
};

class share_flow {  // memory for it; once a thread
 public:
  void use(const share_graph& graph);  // which must live on; for any number of loads

  // Returns a lower bound of the highest load over speed. `tolerance`, of the mean load over speed: how far from
  // balanced a class may be left.
  double solve(const share_loads& loads, double tolerance);

  // What the last solve() found.
  const std::vector<double>& flow() const { return flow_; }  // [edge]; an expert's sum to its load
  std::uint32_t class_of_rank(std::uint32_t rank) const { return class_of_rank_[rank]; }
  std::uint32_t class_of_expert(std::uint32_t expert) const { return class_of_expert_[expert]; }
  double level_of(std::uint32_t c) const { return classes_[c].level; }  // load over speed of a class's ranks
  double speed_of(std::uint32_t c) const { return classes_[c].speed; }  // their sum

 private:
  struct ranks_class {
    double level = 0, load = 0, speed = 0;
    bool dirty = true;   // not known to be balanced
    bool closed = true;  // its experts have no replicas elsewhere: the level is a bound
    bool splits = false;
    std::uint32_t moved_to = 0, staying = 0;  // while it splits
  };
  struct edge_ends {
    std::uint32_t edge, expert, rank;
  };
  static constexpr std::uint32_t none = ~0U;

  void index();
  void order_edges();
  void take(std::uint32_t edge);
  void find_parts();
  void set_levels(const share_loads& l);
  void fill(const share_loads& l);
  void push(std::uint32_t edge, double amount);
  void find_overfull();
  bool reach(std::uint32_t expert);
  bool visit_ranks(std::uint32_t expert);
  void augment(std::uint32_t rank);
  bool split();
  bool all_overfull(std::uint32_t expert);
  void hand_out_rest();
  bool active(std::uint32_t edge) const { return class_of_rank_[rank_of(edge)] == class_of_expert_[expert_of_[edge]]; }
  std::uint32_t rank_of(std::uint32_t edge) const { return graph_->rank[edge]; }
  bool dirty_expert(std::uint32_t expert) const { return classes_[class_of_expert_[expert]].dirty; }

  const share_graph* graph_ = nullptr;
  std::uint32_t ranks_ = 0, experts_ = 0, parts_ = 0;
  double excess_min_ = 0, slack_min_ = 0;
  std::vector<double> flow_, left_, room_;                   // [edge], of an [expert], of a [rank]
  std::vector<std::uint32_t> expert_of_, order_, extra_;     // [edge]
  std::vector<std::uint32_t> edges_first_, edges_;           // [rank] its edges
  std::vector<std::uint32_t> degree_, open_edges_, leaves_;  // [node] ranks, then experts; xor of the open ones
  std::vector<std::uint8_t> taken_;                          // [edge]
  std::vector<std::uint32_t> part_of_rank_, class_of_rank_, class_of_expert_;
  std::vector<ranks_class> classes_;
  std::vector<std::uint32_t> seen_rank_, seen_expert_, came_to_rank_, came_to_expert_, queue_;
  std::vector<std::uint8_t> over_rank_;  // in a set that cannot hand on its load
  std::vector<edge_ends> filling_;       // in the order of order_
  std::uint32_t search_ = 0;
};

}  // namespace ballast::policies
