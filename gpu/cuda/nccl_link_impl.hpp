// Rows and answers by NCCL, between ranks that cannot reach each other's memory: what a communicator has of it, and
// what the communicators of a rank share.
#pragma once

#include "gpu/cuda/cuda_communicator_impl.hpp"
#include "gpu/cuda/nccl_world_impl.hpp"
#include "gpu/cuda/step_graphs_impl.hpp"

namespace ballast::gpu::cuda {

// A communicator's own world, and its graphs, which hold NCCL's operations.
class nccl_link {
 public:
  nccl_link(std::unique_ptr<nccl_world> world, std::unique_ptr<step_graphs> graphs)
      : world_(std::move(world)), graphs_(std::move(graphs)) {}
  cudaGraphExec_t find(model_index model, std::uint32_t capacity) const { return graphs_->find(model, capacity); }
  void end() noexcept { world_->end(); }  // nccl_world::end()
  // Together with the other members, if `links` are unbroken; else alone. Nothing runs any more. Ranks of one process
  // close each in its own thread: NCCL lets the last of them go only when all their graphs are gone.
  void close(host::host_communicator& links) noexcept;

 private:
  std::unique_ptr<nccl_world> world_;
  std::unique_ptr<step_graphs> graphs_;  // gone before the world is
};

// Memory: blocks of answers to and from each member, used within a step only, and so shared by all communicators of the
// rank. Allocated by prepare(): at start where NCCL is set, else when the first communicator needs it.
// Threads: the builder's.
class nccl_exchange {
 public:
  // Both must outlive it and the communicators.
  nccl_exchange(int ordinal, exchange_memory& exchange, const step_recipe& recipe, std::uint32_t ctas)
      : ordinal_(ordinal), exchange_(exchange), recipe_(recipe), ctas_(ctas) {}
  // Errors: unavailable (NCCL cannot be used), does_not_fit.
  status prepare();
  // Connects the members of parts.links, sends every member something that is checked and back again, and captures all
  // graphs. Errors: those of nccl_world; corrupt; timed_out; aborted.
  status join(cuda_communicator::parts& parts, host::clock::time_point until);

 private:
  struct block_places {
    std::vector<float*> out, in;  // of answers, by member
  };
  std::size_t block_bytes() const noexcept;
  block_places place(cuda_communicator::parts& parts) const;
  status prove(nccl_world& world, const cuda_communicator::parts& parts, host::clock::time_point until,
               const nccl_world::watch& watching);

  const int ordinal_;
  exchange_memory& exchange_;
  const step_recipe& recipe_;
  const std::uint32_t ctas_;
  const nccl_library* nccl_ = nullptr;
  memory blocks_, mail_, letters_;  // mail_: what the warm run sends and receives; letters_: the same, pinned
  stream stream_;
  event event_;
};

}  // namespace ballast::gpu::cuda
