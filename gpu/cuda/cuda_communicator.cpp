#include "gpu/cuda/cuda_communicator_impl.hpp"
#include "gpu/cuda/nccl_link_impl.hpp"

namespace ballast::gpu::cuda {

cuda_communicator::cuda_communicator(parts made) : made_(std::move(made)) {}

cuda_communicator::~cuda_communicator() {
  if (made_.nccl) made_.nccl->close(*made_.links);
  made_.nccl.reset();
  made_.exchange->give_back(made_.lane);
}

}  // namespace ballast::gpu::cuda
