// One pull of many pages of a model over a mapping: asks where they lie, copies them in batches, verifies, publishes.
#pragma once

#include <atomic>
#include <deque>
#include <optional>

#include "gpu/cuda/page_copier_impl.hpp"
#include "gpu/cuda/source_link_impl.hpp"
#include "gpu/cuda/step_rhythm.hpp"
#include "gpu/host/pace.hpp"
#include "gpu/transport.hpp"

namespace ballast::gpu::cuda {

// What a transport has done so far. Threads: any.
struct transfer_counts {
  std::atomic<std::uint64_t> corrupt_pages{0};  // whose checksum was not the source's; never published
  std::atomic<std::uint64_t> copied_bytes{0};   // over mappings
  std::atomic<std::uint64_t> message_bytes{0};
};

// Threads: the transfer thread, within a scope of `stop`. A copy that was issued is waited for before run() returns.
class mapped_pull {
 public:
  struct tools {
    page_copier& copier;
    host::pace& speed;
    step_rhythm& rhythm;
    const std::uint32_t* rhythm_word;  // null: nothing steps here
    host::cancellation& stop;
    transfer_counts& counts;
    bool verify = true;
    std::size_t paced_bytes = std::size_t{12} << 20;  // at once, so that the foreground finds gaps
  };
  mapped_pull(tools with, source_link& link, const source_link::view& view, cuda_page_pool& pool,
              std::chrono::milliseconds deadline)
      : with_(with), link_(link), view_(view), pool_(pool), deadline_(deadline) {}
  // Sets out[i] for every item that was tried. An error has ended the pull: it is the answer for the items not set.
  status run(std::span<const pull_item> items, std::span<std::optional<result<std::uint64_t>>> out);

 private:
  static constexpr std::size_t batch_bytes = std::size_t{160} << 20;
  static constexpr std::chrono::milliseconds batch_time{1};  // of a limited pull; a lull ends a batch sooner

  struct batch {
    std::vector<std::size_t> items;
    std::vector<std::uint64_t> expected;
    std::vector<page_copier::copy> copies;  // one a page
    std::uint64_t lease = 0;
    source_link::time_point until;  // of the lease
  };
  status issue_all();
  status issue_located(std::size_t first, const source_link::located& found);
  bool can_come(std::size_t item, const located_frame& where);
  status copy(const page_copier::copy& page);
  status close_batch();
  status wait_for_pace();
  result<bool> may_go(source_link::time_point due);
  status collect_oldest();
  void settle(const batch& b, std::size_t i, std::uint64_t sum);
  void release_done();
  std::size_t keys_at_once() const;
  std::size_t pages_at_once() const;

  const tools with_;
  source_link& link_;
  const source_link::view view_;
  cuda_page_pool& pool_;
  const std::chrono::milliseconds deadline_;
  source_link::time_point until_;
  std::span<const pull_item> items_;
  std::span<std::optional<result<std::uint64_t>>> out_;
  batch open_;  // of pages whose copies are issued, if limited; else are to be
  std::deque<batch> under_way_;
  std::deque<std::uint64_t> leases_;  // taken and not released; in the order of their batches
};

}  // namespace ballast::gpu::cuda
