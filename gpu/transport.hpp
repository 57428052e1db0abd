// One-sided reads of expert pages and dense weights from other ranks: the source's forward thread takes no part.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "gpu/pages.hpp"
#include "messages/result.hpp"

namespace ballast::gpu {

// Threads: address() any; the others on one transfer thread, where they block.
class weight_transport {
 public:
  virtual ~weight_transport() = default;
  // Where peers read this rank's pages.
  virtual const std::string& address() const noexcept = 0;
  // Fills `page` (filling, in this rank's pool of `model`) with the bundle `key` held by the rank at `source`, and seals it
  // against the source's checksum. Bytes moved. Errors: not_found (the source holds no such page), corrupt, timed_out,
  // unavailable.
  virtual result<std::uint64_t> pull(const std::string& source, model_index model, page_key key, page_index page,
                                     std::chrono::milliseconds deadline) = 0;
  // The dense weights of `model`, all layers in order, each dense_layout().bytes long.
  virtual result<std::vector<std::byte>> pull_dense(const std::string& source, model_index model,
                                                    std::chrono::milliseconds deadline) = 0;
  // Gives a pull under way up. Any thread.
  virtual void cancel() noexcept = 0;
};

}  // namespace ballast::gpu
