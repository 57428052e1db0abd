// The backend of NVIDIA GPUs: pages in device memory, ranks that write into each other's memory.
#pragma once

#include <memory>

#include "gpu/device.hpp"

namespace ballast::gpu::cuda {
std::unique_ptr<backend> make_cuda_backend();
}  // namespace ballast::gpu::cuda
