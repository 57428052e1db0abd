// Changing slot entries on the device: the changes travel as the arguments of one tiny kernel, so that nothing is
// staged and nothing waits.
#pragma once

#include <cuda_runtime_api.h>

#include "gpu/cuda/views.hpp"

namespace ballast::gpu::cuda {

struct slot_batch {
  static constexpr std::uint32_t most = 128;  // 20 bytes each, within the 4 KiB that a kernel's arguments may take
  std::uint32_t count = 0;
  std::uint32_t at[most];  // layer * entries_per_layer + slot
  slot_view value[most];
};

// Issued on `on`; whatever is issued there later sees the changes.
cudaError_t publish(slot_view* table, const slot_batch& batch, cudaStream_t on);

}  // namespace ballast::gpu::cuda
