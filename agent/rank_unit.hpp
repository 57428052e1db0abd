// One rank of an agent: its device, its forward loop, and what its actors share.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "agent/forward_loop.hpp"
#include "agent/front_end.hpp"
#include "agent/model/model_source.hpp"
#include "gpu/device.hpp"

namespace ballast {

// Owned by the agent; outlives the actors that use it.
struct rank_unit {
  std::uint32_t local_rank = 0;
  std::chrono::milliseconds deadline{10'000};  // of one pull, and of connecting a communicator
  std::unique_ptr<gpu::device> device;
  const std::vector<std::unique_ptr<model_source>>* models = nullptr;
  front_end* clients = nullptr;
  std::function<void(message_body)> uplink;    // to the coordinator; any thread
  std::atomic<std::uint64_t> fetch_generation{0};  // a fetch that began under an older one is given up
  std::atomic<std::uint64_t> corrupt_pulls{0};     // that brought wrong bytes, and kept pages that have them
  std::atomic<std::uint64_t> replayed{0};          // commands that were not obeyed: repeats, and those out of date
  std::unique_ptr<forward_loop> loop;
};

// Work of the transfer worker.
struct fetch_job {
  std::uint64_t sequence = 0;
  std::uint64_t generation = 0;
  bool dense = false;
  std::vector<stage_item> items;
  std::vector<page_source> dense_sources;
};
struct fetch_result {
  std::uint64_t sequence = 0;
  status outcome;
  std::uint64_t bytes = 0;  // that came over a link
  std::vector<slot_write> writes;
  std::vector<std::vector<std::byte>> dense;  // by model
};

// Blocking; on the transfer worker's thread. All or nothing: on failure every page taken is spare again.
fetch_result fetch_bundles(rank_unit& unit, const fetch_job& job);
fetch_result fetch_dense(rank_unit& unit, const fetch_job& job);

}  // namespace ballast
