// Writes checkpoint folders as the real models have them: config.json, shards and their index; with topics also
// topics.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/model/hf_layout.hpp"
#include "cli/checkpoint/topic_routers.hpp"
#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

// Weights are those of the seed (agent/model/seeded_model.hpp), bit for bit, in the shape's expert type; but the shared
// experts of an f8 model are quantised as the routed ones are. With `topics` the routers follow recorded loads, norm
// weights are 1, router biases 0, and experts add so little to a token that it keeps its topic for hundreds of decode
// steps. An old checkpoint in the folder is replaced. Blocks; one caller a folder. Errors: invalid_argument (a shape
// that the layout cannot say), io, those of make_topic_routers.
status write_checkpoint(const std::string& folder, hf_layout layout, const gpu::moe_shape& shape, std::uint64_t seed,
                        const std::optional<topic_source>& topics = std::nullopt, std::uint32_t shards = 4);

}  // namespace ballast
