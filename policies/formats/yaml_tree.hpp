// One YAML document as a tree. Private to policies/formats/.
#pragma once

#include "messages/result.hpp"
#include "policies/formats/byte_source.hpp"
#include "policies/formats/tree.hpp"

namespace ballast::policies {

// The whole source, at most 32 MiB: maps, lists and scalars; no aliases, and tags mean nothing. A plain scalar that
// reads as a number is one. Errors: those of the source; malformed, with file and line.
result<node> read_yaml(byte_source& source);

}  // namespace ballast::policies
