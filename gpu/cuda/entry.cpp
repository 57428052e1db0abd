// What load_backend("cuda") looks for in libballast_cuda.so.
#include "gpu/cuda/cuda_backend.hpp"

extern "C" __attribute__((visibility("default"))) ballast::gpu::backend* ballast_make_backend() {
  return ballast::gpu::cuda::make_cuda_backend().release();
}
