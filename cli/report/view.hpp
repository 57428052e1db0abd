// What `ballast report` shows of one run, as numbers: independent of where they come from and of how a page looks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/offline/replay.hpp"
#include "messages/result.hpp"
#include "policies/formats/load_records.hpp"

namespace ballast::report {

// A recording.
struct source {
  std::string file, model;
  std::uint32_t layers = 0, experts = 0;
  std::uint64_t records = 0;
};

// One rebalance and the interval after it, or (folded) several: means are means, maxima maxima, moves sums. PAR: max /
// mean rank load of a layer.
struct step {
  std::uint64_t record = 0;  // records seen when it was planned
  double next = 1;           // PAR of the next interval, mean over layers
  std::optional<double> next_max, planned;
  std::uint64_t moves = 0, receiver = 0;  // slots written; of them on the busiest rank
};

// Load of ranks relative to their layer's mean in the interval after some of a view's steps, row-major
// [frame][layer][column].
struct heat_map {
  std::vector<std::uint32_t> frames;  // steps
  std::vector<std::uint32_t> layers;
  std::uint32_t columns = 0, ranks_a_column = 1;  // a column is the busiest of its ranks
  std::vector<float> cells;
  bool empty() const noexcept { return cells.empty(); }
  float at(std::size_t frame, std::size_t row, std::size_t column) const {
    return cells[(frame * layers.size() + row) * columns + column];
  }
};

// The busiest experts of a layer in the interval after a step, busiest first: frames and rows of the heat map.
struct busy_expert {
  std::uint32_t expert = 0, copies = 1;
  float load = 0;  // relative to the layer's mean expert
};
struct busy_experts {
  std::uint32_t top = 0;           // a layer
  std::vector<busy_expert> cells;  // [frame][row][top]
};

struct view {
  std::uint32_t source = 0;
  bool even_layout = false;  // what runs are compared with: experts in order, no redundant ones, nothing moves
  std::string name;          // set by name_views()
  std::string policy, shares = "even";
  std::uint32_t interval = 0, redundant = 0, ranks = 0, nodes = 1;
  bool trigger = false;

  // Over all rebalances but the first, which fills the ranks.
  double next = 1;
  std::optional<double> next_p95, next_max, planned;
  double moved = 0;  // part of all slots, a rebalance
  std::uint64_t moves = 0;

  std::vector<step> steps;
  std::vector<float> layer_imbalance;  // of every layer after every rebalance but the first; may be empty
  heat_map heat;                       // may be empty
  busy_experts busiest;                // likewise
};

inline constexpr std::uint32_t busiest_max = 16;  // experts a layer

// Of a replay with loads.
view view_of(const offline::run& run, const offline::replay_input& input, std::uint32_t source);

// The runs of the JSON that `ballast simulate` writes, behind the even layout that they are compared with. Heat maps
// only where it has loads. Errors: malformed, naming `file` and the field.
struct simulation {
  report::source source;
  std::uint64_t bundle_bytes = 0;  // of one expert in one layer; 0: not said
  std::vector<view> views;
};
result<simulation> read_simulation(const std::string& file);

}  // namespace ballast::report
