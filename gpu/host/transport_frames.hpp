// What a puller asks a page server, and what comes back: one message each, a head and then bytes. The server keeps
// nothing about a puller: each piece is asked for, so a puller's window of open requests is the bound of what is under
// way.
#pragma once

#include <cstdint>

#include "gpu/host/frames.hpp"

namespace ballast::gpu::host {

enum class pull_kind : std::uint8_t { page, dense };

struct pull_request {
  std::uint32_t magic = 0x31'51'50'42;  // "BPQ1"
  pull_kind kind = pull_kind::page;
  std::uint8_t reserved[3] = {};
  std::uint64_t id = 0;        // drawn by the puller, returned
  std::uint64_t checksum = 0;  // of the whole, as the first answer gave it
  std::uint64_t offset = 0;
  std::uint32_t length = 0;  // 0: only describe
  std::uint32_t model = 0;
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
};
static_assert(sizeof(pull_request) == 48);

struct pull_reply {
  std::uint32_t magic = 0x31'52'50'42;  // "BPR1"
  std::uint8_t refused = 0;             // 1: `code` and a sentence instead of bytes
  std::uint8_t code = 0;
  std::uint8_t reserved[2] = {};
  std::uint64_t id = 0;
  std::uint64_t total = 0;
  std::uint64_t checksum = 0;
  std::uint64_t offset = 0;
};
static_assert(sizeof(pull_reply) == 40);

inline constexpr std::uint32_t piece_bytes = 1u << 20;
inline constexpr std::uint32_t pieces_open = 4;

}  // namespace ballast::gpu::host
