// The engines whose files are read and written. docs/PLANNING.md describes every form.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast::policies {

enum class file_format : std::uint8_t {
  automatic,    // as the content shows
  vllm,         // loads: JSON Lines; placement: eplb_initial_mapping
  sglang,       // loads: logical_count; placement: physical_to_logical_map
  trtllm,       // placement: YAML, initial_global_assignments
  vllm_ascend,  // placement: expert map
  ballast,      // loads: vllm's with more fields; placement: ballast_placement
};

const char* to_string(file_format format) noexcept;           // "vllm-ascend"
result<file_format> file_format_of(const std::string& name);  // error: not_found, with the names
std::vector<std::string> file_format_names();                 // without "automatic"

}  // namespace ballast::policies
