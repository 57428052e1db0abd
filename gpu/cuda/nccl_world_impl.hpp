// One communicator of NCCL: made without blocking, ended without waiting for a member that is gone.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "gpu/cuda/nccl_library_impl.hpp"
#include "gpu/cuda/runtime_impl.hpp"

namespace ballast::gpu::cuda {

// Threads: one at a time; end() may be called beside a step that a graph runs. What was captured from it into graphs
// must be gone before finish() and before it is destroyed: NCCL waits for that.
class nccl_world {
 public:
  // Asked between two looks at NCCL's state: an error ends the wait and is the answer. May park for a moment.
  using watch = std::function<status()>;
  struct place {
    int ordinal = 0;  // the GPU, current on the calling thread
    std::uint32_t rank = 0, members = 0;
    std::uint32_t ctas = 8;
  };
  static result<std::string> make_id(const nccl_library& nccl);  // for one member; the others are given it
  // Waits for all members. Errors: invalid_argument (an id that is none), io with NCCL's words, those of `watch`.
  static result<std::unique_ptr<nccl_world>> make(const nccl_library& nccl, const std::string& id, const place& where,
                                                  const watch& watching);
  // Aborts what finish() has not ended: up to half a second.
  ~nccl_world();

  // To and from one member; `bytes` each way, the same on both sides.
  struct transfer {
    std::uint32_t peer = 0;
    const void* out = nullptr;
    void* in = nullptr;
    std::size_t bytes = 0;
  };
  // Issues all of them as one operation, or captures it. Returns when NCCL has issued it, not when it is done.
  status exchange(std::span<const transfer> transfers, const stream& on, const watch& watching);

  // Ends what runs on the GPU, at once; nothing can be issued afterwards. Returns immediately: NCCL takes half a
  // second, on a thread that the destructor joins.
  void end() noexcept;
  // Ends an unbroken one, together with the other members: half a second.
  status finish(const watch& watching);

 private:
  nccl_world(const nccl_library& nccl, int ordinal) : nccl_(nccl), ordinal_(ordinal) {}
  status check(ncclResult_t code, const char* what) const;
  status settle(const watch& watching, const char* what) const;
  void abort() noexcept;

  const nccl_library& nccl_;
  const int ordinal_;
  ncclComm_t comm_ = nullptr;
  std::atomic<bool> ended_{false};
  std::thread ending_;
};

}  // namespace ballast::gpu::cuda
