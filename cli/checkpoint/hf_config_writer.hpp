// config.json of a checkpoint in a Hugging Face layout: the inverse of read_hf_config.
#pragma once

#include <string>

#include "agent/model/hf_layout.hpp"

namespace ballast {

// Can the layout say this shape? Error: invalid_argument naming the field and what the layout fixes it to.
status check_layout(hf_layout layout, const gpu::moe_shape& shape);

// Of a shape that the layout can say. DeepSeek-V3 checkpoints begin with one dense layer, as the real ones do with
// three.
std::string write_hf_config(hf_layout layout, const gpu::moe_shape& shape);
std::uint32_t leading_dense_layers(hf_layout layout) noexcept;

}  // namespace ballast
