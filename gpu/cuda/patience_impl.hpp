// Waiting for a GPU that may itself be waiting for a peer.
#pragma once

#include <functional>

#include "gpu/cuda/cuda_communicator_impl.hpp"

namespace ballast::gpu::cuda {

struct wait_hooks {
  fault_view* fault = nullptr;         // where kernels report; null: these report nothing
  std::function<void()> tell = {};     // once, when a fault of this rank's own is read while its GPU still works
  std::function<void()> unblock = {};  // ends waits that the stop word cannot; when the answer will be an error
};

// Until `done` has passed. A member that gives up, an abort, a fault that a kernel reports and the time limit each end
// the waits of kernels through `stop`; then `done` passes within milliseconds, and the reason is the answer (of a
// fault that nobody told: ok; the caller reads it). Should it not pass for ten seconds more, the answer is errc::io,
// and nothing that was issued may be touched. Keeps a core busy: a step is short.
status wait_for(const event& done, host::host_communicator& links, stop_word stop, host::clock::time_point until,
                const wait_hooks& hooks = {});

}  // namespace ballast::gpu::cuda
