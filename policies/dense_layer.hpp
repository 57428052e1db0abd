// One layer as the planner's search works on it: flat arrays, loads of several snapshots at once, everything kept up to
// date with every change. Allocated once and used for layer after layer. Private to policies/.
#pragma once

#include <cstdint>
#include <vector>

namespace ballast::policies {

// The ranks of a problem in order; one for all layers.
struct rank_table {
  std::vector<std::uint32_t> room;  // slots a layer
  std::vector<std::uint32_t> node;
  std::vector<float> speed;  // relative; their mean is 1
  std::uint32_t nodes = 1;   // node numbers are below it
  std::uint32_t size() const { return static_cast<std::uint32_t>(room.size()); }
};

inline constexpr std::uint32_t no_node = ~0U;

// Loads are relative: 1 is what every rank would have if a snapshot were perfectly balanced. A rank's slots are
// consecutive lanes, padded, so that the lanes of one rank fill whole vectors. Tokens of an expert split evenly over
// its replicas.
struct dense_layer {
  dense_layer(const rank_table& table, std::uint32_t experts, std::uint32_t snapshots);

  // Slots in rank-major order, without padding; negative: empty. Also what counts as written from then on.
  void start(const std::int32_t* slots);
  void read(std::int32_t* slots) const;

  bool holds(std::uint32_t expert, std::uint32_t rank) const { return bit(held_, expert, rank); }
  bool held_at_start(std::uint32_t expert, std::uint32_t rank) const { return bit(held_at_start_, expert, rank); }
  bool is_empty(std::uint32_t lane) const { return expert_at[lane] == experts; }
  // The only copy on its home node: it may not leave that.
  bool bound_to_home(std::uint32_t expert, std::uint32_t node) const {
    return home[expert] == node && home_copies[expert] == 1;
  }
  const std::uint32_t* lanes_of(std::uint32_t expert) const { return &holders_[expert * ranks]; }

  void vacate(std::uint32_t lane);  // loads follow with spread() and refresh()
  void occupy(std::uint32_t lane, std::uint32_t expert);

  const rank_table& table;
  std::uint32_t experts, ranks, snapshots;
  std::uint32_t row = 0;       // snapshots, padded: the length of a row of the arrays by snapshot
  std::uint32_t lanes = 0;     // of all ranks, padded
  std::uint32_t words = 0;     // of a set of ranks
  std::uint32_t replicas = 0;  // slots in use

  std::vector<std::uint32_t> first;      // [rank] its first lane, and one more
  std::vector<std::uint32_t> rank_at;    // [lane]
  std::vector<std::uint32_t> expert_at;  // [lane] `experts` if empty
  std::vector<std::uint32_t> start_at;   // [lane] as expert_at was at the start
  std::vector<std::uint32_t> copies;     // [expert]
  std::vector<std::uint32_t> home;       // [expert] node that must keep a copy, or no_node
  std::vector<std::uint32_t> home_copies;
  std::vector<float> pace;       // [rank] 1 / speed
  std::vector<float> weight;     // [expert][row] load of the whole expert; one more expert, of load 0
  std::vector<float> each;       // [expert][row] of one replica
  std::vector<float> load;       // [rank][row] load over speed
  std::vector<float> pressure;   // [rank] sum of a power of its loads
  std::vector<float> lane_each;  // [snapshot][lane] load of the replica there
  std::vector<float> in_use;     // [lane] 1 or 0
  std::vector<float> written;    // [lane] 1 if its rank did not hold the expert at the start
  std::vector<float> barred;     // [lane] 0, or a price that nothing pays

 private:
  bool bit(const std::vector<std::uint64_t>& sets, std::uint32_t expert, std::uint32_t rank) const {
    return (sets[expert * words + rank / 64] >> (rank % 64) & 1) != 0;
  }

 public:
  std::vector<std::uint64_t> held_, held_at_start_;  // [expert] sets of ranks
  std::vector<std::uint32_t> holders_;               // [expert] lanes of its copies, ascending
};

}  // namespace ballast::policies
