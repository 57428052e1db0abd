// One step of one model on one rank: every layer's dispatch, experts and combine.
#pragma once

#include <vector>

#include "gpu/host/host_communicator_impl.hpp"
#include "gpu/host/model_state.hpp"
#include "gpu/host/routing.hpp"

namespace ballast::gpu::host {

// Threads: the issuing thread. Keeps its buffers from step to step.
class forward {
 public:
  status run(model_state& state, model_index model, step_t step, std::span<float> hidden, const host_routing& routing,
             host_communicator& comm, slot_counts& counts);

 private:
  // Rows for one destination, as they are collected; the frame's payload.
  struct outgoing {
    std::vector<dispatch_entry> entries;
    std::vector<std::uint32_t> tokens;  // of each row
  };
  // Where the answer of (token, k) will be.
  struct origin {
    std::uint32_t rank = 0;
    std::uint32_t entry = 0;
  };
  // One row that this rank's expert in `slot` is to compute.
  struct job {
    std::uint32_t source = 0;
    std::uint32_t entry = 0;
    const std::byte* row = nullptr;
  };
  struct step_view {
    model_state& state;
    model_index model;
    std::span<float> hidden;
    const host_routing& routing;
    host_communicator& comm;
    slot_counts& counts;
    std::uint32_t tokens;
    std::shared_ptr<const dense_blob> dense;
  };

  status run_layer(step_view& v, std::uint32_t layer);
  void plan_dispatch(step_view& v, std::uint32_t layer);
  status send_dispatch(step_view& v, std::uint32_t layer);
  status take_jobs(step_view& v, std::uint32_t layer);
  status add_job(step_view& v, std::uint32_t layer, std::uint32_t source, std::uint32_t index,
                 const dispatch_entry& entry, const std::byte* rows, std::uint32_t row_count);
  status find_pages(step_view& v, std::uint32_t layer);
  void compute(step_view& v, std::uint32_t layer);
  status send_answers(step_view& v, std::uint32_t layer);
  status finish_layer(step_view& v, std::uint32_t layer);

  layer_math::workspace work_;
  std::vector<float> normed_, shared_, gathered_, computed_;
  std::vector<choice> chosen_;
  std::vector<origin> origins_;
  std::vector<std::uint64_t> met_;       // by expert: tokens of this batch so far
  std::vector<std::uint32_t> rank_of_;   // by position in routing.seats()
  std::vector<outgoing> out_;            // by rank
  std::vector<std::vector<job>> jobs_;   // by slot
  std::vector<const std::byte*> pages_;  // by slot
  std::vector<zmq::message_t> inbox_, answers_;
  std::vector<std::vector<float>> returned_;  // by rank: what its experts made of this rank's rows
  host_communicator::mask senders_, repliers_;
};

}  // namespace ballast::gpu::host
