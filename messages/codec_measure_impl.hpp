// First pass over a frame, before any memory is taken for what it claims to hold.
#pragma once

#include "messages/codec.hpp"

namespace ballast::wire {

// Walks the whole frame without building anything. Afterwards: it is one well-formed msgpack value within the limits,
// and no array or map in it claims more elements than the frame has bytes.
status measure(byte_view frame, const decode_limits& limits);

}  // namespace ballast::wire
