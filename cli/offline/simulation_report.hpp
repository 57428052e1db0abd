// What a simulation found, as a table and as JSON (docs/PLANNING.md has its fields).
#pragma once

#include <string>
#include <vector>

#include "cli/offline/replay.hpp"

namespace ballast::offline {

std::string text_of(const replay_input& input, const std::vector<run>& runs);
std::string json_of(const replay_input& input, const std::string& recording, const std::vector<run>& runs);

}  // namespace ballast::offline
