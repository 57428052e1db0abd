// JSON values, one after the other: JSON Lines and documents alike. Private to policies/formats/.
#pragma once

#include <optional>

#include "messages/result.hpp"
#include "policies/formats/byte_source.hpp"
#include "policies/formats/tree.hpp"

namespace ballast::policies {

// The next value of the source; nullopt at its end. Errors: those of the source; malformed, with file and line: not
// JSON, or beyond the limits of tree_builder. Holds one value.
result<std::optional<node>> next_json(byte_source& source);

}  // namespace ballast::policies
