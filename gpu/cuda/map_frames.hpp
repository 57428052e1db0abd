// What a puller asks about pages that it copies by itself, and what comes back: a head, then its entries; one message
// each, as they lie in memory. Bytes of pages and dense weights are asked for by the frames of gpu/host.
#pragma once

#include "gpu/host/frames.hpp"

namespace ballast::gpu::cuda {

enum class map_kind : std::uint8_t {
  describe,  // of a model; answered by one mapping_frame
  locate,    // `count` key_frames follow; answered by as many located_frames, under a lease
  release,   // of `lease`; not answered
  probe,     // answered by the head alone
};

struct map_request {
  std::uint32_t magic = 0x31'51'4d'42;  // "BMQ1"
  map_kind kind = map_kind::describe;
  std::uint8_t reserved[3] = {};
  std::uint64_t id = 0;  // drawn by the puller, returned
  std::uint64_t lease = 0;
  std::uint32_t model = 0;
  std::uint32_t count = 0;
};
static_assert(sizeof(map_request) == 32);

struct key_frame {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
};

struct map_reply {
  std::uint32_t magic = 0x31'52'4d'42;  // "BMR1"
  std::uint8_t refused = 0;             // 1: `code` and a sentence instead of entries
  std::uint8_t code = 0;
  std::uint8_t reserved[2] = {};
  std::uint64_t id = 0;
  std::uint64_t source = 0;  // drawn by the serving transport when it started
  std::uint64_t lease = 0;   // the located pages stay until it is released, at most lease_ms
  std::uint32_t lease_ms = 0;
  std::uint32_t count = 0;  // entries
};
static_assert(sizeof(map_reply) == 40);

// Where the pages of a model lie, and for whom.
struct mapping_frame {
  char host[40] = {};         // the boot id of its kernel
  std::uint64_t process = 0;  // drawn once in a process; with `pid`, as a forked child has its parent's
  std::uint64_t base = 0;     // the device address in that process
  std::uint64_t stride = 0;   // page n begins at base + n * stride
  std::uint64_t page_bytes = 0;
  std::uint32_t pages = 0;
  std::uint32_t pid = 0;
  std::int32_t ordinal = 0;  // of the GPU in that process
  std::uint32_t exported = 0;
  std::uint8_t handle[64] = {};  // cudaIpcMemHandle_t of `base`, if exported
};
static_assert(sizeof(mapping_frame) == 152);

struct located_frame {
  std::uint64_t checksum = 0;
  std::uint32_t page = 0;
  std::uint32_t found = 0;
};
static_assert(sizeof(located_frame) == 16);

inline constexpr std::uint32_t most_located = 256;  // keys of one request
inline constexpr std::uint32_t lease_ms = 5'000;    // far longer than the copies of one request take

}  // namespace ballast::gpu::cuda
