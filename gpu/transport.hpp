// One-sided reads of expert pages and dense weights from other ranks: the source's forward thread takes no part.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gpu/pages.hpp"
#include "messages/result.hpp"
#include "messages/types.hpp"

namespace ballast::gpu {

// A bundle to bring into a page of this rank's pool that is filling.
struct pull_item {
  model_index model = 0;
  page_key key;
  page_index page = 0;
};
using pull_results = std::vector<result<std::uint64_t>>;  // bytes moved, or why not; one an item, in order

// Threads: address() any; the others on one transfer thread, where they block.
class weight_transport {
 public:
  virtual ~weight_transport() = default;
  // Where peers read this rank's pages.
  virtual const std::string& address() const noexcept = 0;
  // Fills `page` (filling, in this rank's pool of `model`) with the bundle `key` held by the rank at `source`, and seals it
  // against the source's checksum. Bytes moved. Errors: not_found (the source holds no such page), corrupt, timed_out,
  // unavailable, aborted.
  virtual result<std::uint64_t> pull(const std::string& source, model_index model, page_key key, page_index page,
                                     std::chrono::milliseconds deadline) = 0;
  // Many from one source, as fast as a backend can make it; every item fares by itself, as in pull(). Where one shows that
  // the source is of no use (aborted, timed_out, unavailable), the rest answers the same untried. `deadline` is the
  // longest time without progress, not that of the whole. This default pulls one after the other.
  virtual pull_results pull_many(const std::string& source, std::span<const pull_item> items,
                                 std::chrono::milliseconds deadline);
  // The dense weights of `model`, all layers in order, each dense_layout().bytes long.
  virtual result<std::vector<std::byte>> pull_dense(const std::string& source, model_index model,
                                                    std::chrono::milliseconds deadline) = 0;
  // Gives a pull under way up. Any thread.
  virtual void cancel() noexcept = 0;

 protected:
  static pull_results one_by_one(std::span<const pull_item> items,
                                 const std::function<result<std::uint64_t>(const pull_item&)>& pull_one);
};

constexpr bool source_is_of_no_use(errc code) noexcept {
  return code == errc::aborted || code == errc::timed_out || code == errc::unavailable;
}

}  // namespace ballast::gpu
