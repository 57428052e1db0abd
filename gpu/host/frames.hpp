// What travels between ranks. Every frame is one message: a head, then its payload; hosts are little-endian and agree
// on IEEE floats. Frames of another epoch, version or size are dropped by the receiver.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "gpu/communicator.hpp"

namespace ballast::gpu::host {

static_assert(std::endian::native == std::endian::little, "frames are written as they lie in memory");

enum class frame_kind : std::uint8_t {
  header,    // step_header
  probe,     // connect(): a pattern that the receiver verifies
  echo,      // connect(): the pattern sent back
  dispatch,  // entries, then rows of `width` floats
  combine,   // one row of floats for each entry of the dispatch, in its order
  failed,    // errc, then a sentence: this member has given up
};

struct frame_head {
  std::uint32_t magic = 0x31'4c'41'42;  // "BAL1"
  frame_kind kind = frame_kind::header;
  std::uint8_t reserved[3] = {};
  std::uint64_t epoch = 0;
  step_t step = 0;
  std::uint32_t source = 0;  // rank
  std::uint32_t model = 0;
  std::uint32_t layer = 0;
  std::uint32_t entries = 0;
  std::uint32_t rows = 0;
  std::uint32_t width = 0;
};
static_assert(sizeof(frame_head) == 48);

// One expert's work for one row of a dispatch.
struct dispatch_entry {
  std::uint32_t row = 0;
  std::uint32_t slot = 0;
  std::uint32_t expert = 0;
};

template <class T>
T read_as(const void* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace ballast::gpu::host
