#include "gpu/cuda/publish_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

__global__ void write_slots(slot_view* table, slot_batch batch) {
  if (threadIdx.x < batch.count) table[batch.at[threadIdx.x]] = batch.value[threadIdx.x];
}

}  // namespace

cudaError_t publish(slot_view* table, const slot_batch& batch, cudaStream_t on) {
  write_slots<<<1, slot_batch::most, 0, on>>>(table, batch);
  return cudaGetLastError();
}

}  // namespace ballast::gpu::cuda
