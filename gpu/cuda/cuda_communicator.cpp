#include "gpu/cuda/cuda_communicator_impl.hpp"
#include "gpu/cuda/nccl_link_impl.hpp"

namespace ballast::gpu::cuda {

result<std::shared_ptr<stop_word>> stop_word::make() {
  auto word = memory::make(memory_kind::pinned, 64, "a stop word");
  if (!word) return fail(word.error());
  auto made = std::make_shared<stop_word>();
  made->memory_ = std::move(*word);
  *made->memory_.as<std::uint32_t>() = 0;
  return made;
}

cuda_communicator::cuda_communicator(parts made) : made_(std::move(made)) {}

cuda_communicator::~cuda_communicator() {
  if (made_.nccl) made_.nccl->close(*made_.links);
  made_.nccl.reset();
  made_.exchange->give_back(made_.lane);
}

}  // namespace ballast::gpu::cuda
