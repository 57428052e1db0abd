// The wire form of an envelope: a msgpack map with named keys (PROTOCOL.md). Unknown keys are ignored, missing ones
// keep their defaults, unknown protocol versions and message types are refused, and nothing is trusted before it was
// measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

using byte_buffer = std::vector<std::byte>;
using byte_view = std::span<const std::byte>;

// Bounds checked before memory is taken for what a frame claims to hold.
struct decode_limits {
  std::size_t frame_bytes = std::size_t{64} << 20;
  std::uint32_t array_length = 1u << 20;
  std::uint32_t string_bytes = 1u << 16;
  std::uint32_t binary_bytes = 48u << 20;
  std::uint32_t depth = 16;
  std::uint32_t elements = 1u << 22;  // of all arrays and maps together: bounds what a frame can make the decoder take
};

byte_buffer encode(const envelope& message);

// Errors: malformed (what and where), version_mismatch (naming the versions spoken), does_not_fit (which limit).
result<envelope> decode(byte_view frame, const decode_limits& limits = {});

// Of a frame that decode() refused: the envelope's id, so that the refusal can name it. 0 if it cannot be read.
std::uint64_t id_of(byte_view frame, const decode_limits& limits = {});

}  // namespace ballast
