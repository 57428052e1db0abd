// A model whose weights come from a seed: any expert can be made by itself, with the same bits on every machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "agent/model/model_source.hpp"

namespace ballast {

struct seeded_options {
  // Size of what one layer adds to a token, relative to an input of size 1 (root mean square). Small, because a client
  // feeds a step's output into the next step and the same experts add the same vector again and again.
  float expert_gain = 0.02f;
};

// `shape` has passed gpu::check. Dense weights are values of the format a checkpoint of this expert type keeps them in
// (f32, f16, else bf16), so that writing and reading a checkpoint gives the same bits.
std::unique_ptr<model_source> make_seeded_model(std::string name, std::uint64_t seed, const gpu::moe_shape& shape,
                                                const seeded_options& options = {});

// The format norms, routers and shared experts of such a checkpoint are kept in.
gpu::dtype dense_type(gpu::dtype expert_type) noexcept;

}  // namespace ballast
