// Layers of placements as rows of their own, named by the sum of what they hold.
#pragma once

#include <string>

#include "messages/types.hpp"

namespace ballast::cluster {

inline constexpr const char* layer_prefix = "layer/";

std::string name_of(const layer_placement& layer);    // 32 digits, without the prefix
std::string text_of(const layer_placement& layer);    // [[[seat, slot, share], …], …]
layer_placement layer_from(const std::string& text);  // throws nlohmann::json::exception

}  // namespace ballast::cluster
