// A live rebalance of a rig, as the coordinator drives one, without the coordinator: so that what it costs a running
// step is the backend's alone.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "tests/gpu/cuda_rig.hpp"

namespace ballast::gpu::bench {

using bench_clock = std::chrono::steady_clock;
inline double milliseconds_since(bench_clock::time_point begun) {
  return std::chrono::duration<double, std::milli>(bench_clock::now() - begun).count();
}

struct rebalance_options {
  std::uint32_t per_layer = 18;  // experts of each layer that each of two ranks sends, and receives
  std::uint32_t wave_layers = 2, waves_in_flight = 2;
};

// Which slots of a rank hold nothing, by layer.
using free_slots = std::vector<std::vector<std::vector<std::uint32_t>>>;  // [rank][layer]

// Planned whole when it is made, as a coordinator does it off the ranks. One use: start, then either at_boundary() by
// each rank's issuing thread ahead of its steps, or settle() without steps, until finished(). Changes `table` and
// `free` to what holds afterwards. Ranks step together, so that none is more than a boundary ahead of another.
class rebalance {
 public:
  rebalance(rig& r, placement& table, free_slots& free, rebalance_options o);
  ~rebalance();

  void start();
  status at_boundary(std::uint32_t rank, std::uint32_t step);  // ahead of that step
  void settle();  // what parked ranks do when they are told
  bool finished() const;
  status outcome() const;
  double milliseconds() const { return took_; }
  std::uint64_t bytes() const { return bytes_ / rig_.ranks(); }  // a direction

 private:
  struct arrival {
    std::uint32_t layer = 0, expert = 0, slot = 0;
    page_index page = 0;
  };
  enum class progress { fetching, staged, entered, routed, reclaimed };
  // Layers that move together: fetched by every rank, then entered by every rank, then routed to by all ranks from one
  // step on, as two tables in one step would have experts computed on two ranks; then reclaimed. Nobody waits in a step.
  struct wave {
    std::uint32_t first = 0, last = 0;
    placement table;
    std::vector<std::vector<arrival>> arrivals;                                    // by rank, as all below
    std::vector<std::vector<std::pair<std::uint32_t, std::uint32_t>>> departures;  // layer, slot
    std::vector<std::shared_ptr<const routing_table>> routing;
    std::vector<progress> at;
    std::optional<std::uint32_t> agreed;  // first step by the new table
  };
  bool all(const wave& w, progress least) const;
  std::optional<progress> due(const wave& w, std::uint32_t rank, std::uint32_t step) const;
  std::shared_ptr<const routing_table> perform(wave& w, std::uint32_t rank, progress what);
  void reclaim(wave& w, std::uint32_t rank);
  void plan(wave& w);
  status fetch(wave& w, std::uint32_t rank);
  wave* next_wave(std::size_t number);
  void move(std::uint32_t rank);

  rig& rig_;
  placement& table_;
  free_slots& free_;
  const rebalance_options options_;
  std::vector<std::thread> movers_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<wave> waves_;
  std::vector<std::shared_ptr<const routing_table>> retired_;
  std::uint32_t latest_ = 0;           // step that a rank is or was about to begin
  std::size_t opened_ = 0, over_ = 0;  // waves whose fetches have begun, that all ranks have reclaimed
  bool done_ = false;
  std::optional<error> failed_;
  std::atomic<std::uint64_t> bytes_{0};
  bench_clock::time_point begun_;
  double took_ = 0;
};

}  // namespace ballast::gpu::bench
