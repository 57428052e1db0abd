// A rank's buffers for the steps of all its models, allocated at start for the largest batch there can be.
#pragma once

#include <vector>

#include "gpu/cuda/kernels_impl.hpp"
#include "gpu/cuda/runtime_impl.hpp"
#include "gpu/model_shape.hpp"

namespace ballast::gpu::cuda {

struct workspace_sizes {
  std::vector<moe_shape> models;
  std::vector<std::uint32_t> entries;  // of a layer's slot table, by model
  std::uint32_t max_tokens = 0;        // of a rank
  std::uint32_t members = 0;           // most
};

class workspace {
 public:
  static result<workspace> make(const workspace_sizes& sizes);
  const work_view& view() const noexcept { return view_; }
  step_view* step() const noexcept { return step_; }  // on the device

  // Pinned: what a step's graph copies in, and out.
  step_view& next_step() const noexcept { return *in_.as<step_view>(); }
  float* rows_in() const noexcept { return in_.as<float>(rows_offset); }
  float* rows_out() const noexcept { return out_.as<float>(); }
  std::uint32_t* counts_out() const noexcept { return counts_.as<std::uint32_t>(); }
  fault_view& fault() const noexcept { return *fault_.as<fault_view>(); }

 private:
  static constexpr std::size_t rows_offset = (sizeof(step_view) + 255) / 256 * 256;
  memory device_, in_, out_, counts_, fault_, rhythm_;
  work_view view_{};
  step_view* step_ = nullptr;
};

}  // namespace ballast::gpu::cuda
