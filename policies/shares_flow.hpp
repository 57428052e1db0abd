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

// One layer. Experts with one replica are part of `base`.
struct share_graph {
  std::vector<double> speed, base;   // [rank]
  std::vector<double> load;          // [expert] > 0
  std::vector<std::uint32_t> first;  // [expert] its first edge; one more
  std::vector<std::uint32_t> rank;   // [edge] distinct within an expert

  void clear(const std::vector<double>& speeds) {
    speed = speeds;
    base.assign(speeds.size(), 0.0);
    load.clear();
    first.assign(1, 0U);
    rank.clear();
  }
  // After its edges were appended to `rank`.
  void close_expert(double expert_load) {
    load.push_back(expert_load);
    first.push_back(static_cast<std::uint32_t>(rank.size()));
  }
};

class share_flow {  // memory for it; once a thread
 public:
  // Fills flow(), [edge]: an expert's sum to its load. Returns a lower bound of the highest load over speed.
  // `tolerance`, of the mean load over speed: how far from balanced a class may be left.
  double solve(const share_graph& graph, double tolerance);
  const std::vector<double>& flow() const { return flow_; }

 private:
  struct ranks_class {
    double level = 0;    // load / speed
    bool dirty = true;   // not known to be balanced
    bool closed = true;  // its experts have no replicas elsewhere: the level is a bound
  };
  static constexpr std::uint32_t none = ~0U;

  void index(const share_graph& g);
  void order_edges();
  void take(std::uint32_t edge);
  void find_parts(const share_graph& g);
  void set_levels(const share_graph& g);
  void fill(const share_graph& g);
  void push(std::uint32_t edge, double amount);
  bool reach(const share_graph& g, std::uint32_t expert);
  void augment(std::uint32_t rank);
  bool visit_ranks(const share_graph& g, std::uint32_t expert);
  void find_overfull(const share_graph& g);
  bool split(const share_graph& g);
  void hand_out_rest(const share_graph& g);
  bool active(std::uint32_t edge) const { return class_of_rank_[rank_of_[edge]] == class_of_expert_[expert_of_[edge]]; }

  std::uint32_t ranks_ = 0, experts_ = 0;
  double excess_min_ = 0, slack_min_ = 0;
  std::vector<double> flow_, left_, room_;                          // [edge], of an [expert], of a [rank]
  std::vector<std::uint32_t> rank_of_, expert_of_, order_, extra_;  // [edge]
  std::vector<std::uint32_t> edges_first_, edges_;                  // [rank] its edges
  std::vector<std::uint32_t> degree_, open_edges_, leaves_;         // [node] ranks, then experts; xor of the open ones
  std::vector<std::uint8_t> taken_;                                 // [edge]
  std::vector<std::uint32_t> class_of_rank_, class_of_expert_, parts_, moved_to_, staying_;
  std::vector<ranks_class> classes_;
  std::vector<double> class_load_, class_speed_;
  std::vector<std::uint32_t> seen_rank_, seen_expert_, came_to_rank_, came_to_expert_, queue_;
  std::vector<std::uint8_t> over_rank_;    // in a set that cannot hand on its load
  std::vector<std::uint8_t> over_expert_;  // all its replicas are
  std::uint32_t search_ = 0;
};

}  // namespace ballast::policies
