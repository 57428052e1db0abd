// `ballast make-checkpoint`: a checkpoint in a real layout, of any shape, from a seed; with recorded loads its routers
// follow them.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

struct checkpoint_options {
  std::string out;
  std::string layout = "qwen3";  // qwen3, mixtral, deepseek
  std::string dtype = "bf16";    // f32, bf16, f16, f8_e4m3
  gpu::moe_shape shape;
  std::string loads;  // recorded loads; empty: routers from the seed
  std::uint32_t topics = 8;
  std::uint64_t seed = 1;
  std::uint32_t shards = 4;
};

// The shape that a layout starts from, before flags.
gpu::moe_shape default_shape();

namespace verbs {
status make_checkpoint(const checkpoint_options& options, bool as_json, std::ostream& out);
}

}  // namespace ballast
