// A model read from a safetensors checkpoint in a Hugging Face layout.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "agent/model/model_source.hpp"

namespace ballast {

// Up to this many bytes of weights the fingerprint covers every byte; beyond, the first, middle and last 256 of each
// tensor.
inline constexpr std::uint64_t whole_fingerprint_bytes = std::uint64_t{1} << 30;

// Looks up every tensor of the first `max_layers` MoE layers (0: all) and checks dtype and shape, before any is read;
// see open_model. A tensor of a MoE block that no kernel reads is refused too: leaving it out would change the answers.
result<std::unique_ptr<model_source>> open_checkpoint_model(std::string name, const std::string& folder,
                                                            std::uint32_t max_layers,
                                                            std::uint64_t fingerprint_whole = whole_fingerprint_bytes);

}  // namespace ballast
