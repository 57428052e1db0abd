// Waiting for a GPU that may itself be waiting for a peer.
#pragma once

#include <functional>

#include "gpu/cuda/cuda_communicator_impl.hpp"

namespace ballast::gpu::cuda {

// Until `done` has passed. A member that gives up, an abort, a fault that a kernel reports and the time limit each end
// the waits of kernels through `stop`; then `done` passes within milliseconds, and the reason is the answer (of a
// fault: ok; the caller reads it). Should it not pass for ten seconds more, the answer is errc::io, and nothing that
// was issued may be touched. `unblock` ends waits that `stop` cannot, and is called when the answer will be an error.
// Keeps a core busy: a step is short.
status wait_for(const event& done, host::host_communicator& links, stop_word stop, host::clock::time_point until,
                fault_view* fault = nullptr, const std::function<void()>& unblock = {});

}  // namespace ballast::gpu::cuda
