// The vocabulary every folder shares: ids, placements, loads. Plain data; see DESIGN's table of words in ARCHITECTURE.md.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace ballast {

// Stable id of a rank in the deployment. Seats never renumber; a communicator's rank order is its sorted active seats.
enum class seat_id : std::uint32_t {};
constexpr std::uint32_t index_of(seat_id seat) noexcept { return static_cast<std::uint32_t>(seat); }

using incarnation_t = std::uint64_t;   // number a seat gets each time its process joins; older ones are fenced off
using epoch_t = std::uint64_t;         // one communicator's life; 0 = none
using step_t = std::uint64_t;          // forward passes of all active ranks, in lockstep
using version_t = std::uint64_t;       // of a model's placement; grows by one with every published table
using operation_id = std::uint64_t;    // one rebalance, scale or replace
using model_index = std::uint32_t;     // position in the deployment's list of models

inline constexpr std::uint32_t max_models = 4;  // a step header has room for this many

// One copy of a logical expert: entry `slot` of the layer's slot table on `seat`, taking `share` of its tokens.
struct replica {
  seat_id seat{};
  std::uint32_t slot = 0;
  double share = 1.0;  // (0, 1]; the shares of one expert sum to 1
  bool operator==(const replica&) const = default;
};

// placement.layers[layer][expert] -> replicas, sorted by seat; at least one each.
using layer_placement = std::vector<std::vector<replica>>;
struct placement {
  model_index model = 0;
  version_t version = 0;
  std::vector<layer_placement> layers;
  bool operator==(const placement&) const = default;
};

// tokens[layer][logical expert]: token counts over some range of steps.
using load_matrix = std::vector<std::vector<double>>;

// What a seat's process can hold of one model; agreed in the join hand-shake (R55).
struct model_capacity {
  std::uint32_t slots_per_layer = 0;  // replicas a layer may hold on this seat at rest
  std::uint32_t spare_pages = 0;      // pages beyond layers * slots_per_layer, for copies on their way in
  bool operator==(const model_capacity&) const = default;
};

struct seat_capacity {
  std::vector<model_capacity> models;    // by model_index
  std::uint32_t max_batch_tokens = 0;    // tokens a rank takes into one step
  std::uint64_t session_bytes = 0;       // budget for the state of running sessions
  bool operator==(const seat_capacity&) const = default;
};

// Entries of a layer's slot table: one for every page that may hold a replica of that layer.
constexpr std::uint32_t slot_entries(const model_capacity& c) noexcept { return c.slots_per_layer + c.spare_pages; }

// Where a copy of an expert's bundle may be read: a seat's page server, by its address.
struct page_source {
  seat_id seat{};
  std::string address;  // opaque to all but the weight transport that made it
  bool operator==(const page_source&) const = default;
};

// One expert to bring into (seat of the command, layer, slot). No sources: read it from the checkpoint.
struct stage_item {
  model_index model = 0;
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
  std::uint32_t slot = 0;
  std::vector<page_source> sources;  // in order of preference: nearest first
  bool operator==(const stage_item&) const = default;
};

struct slot_ref {
  model_index model = 0;
  std::uint32_t layer = 0;
  std::uint32_t slot = 0;
  auto operator<=>(const slot_ref&) const = default;
};

}  // namespace ballast
