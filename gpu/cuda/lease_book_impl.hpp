// Pages that peers are copying from: they stay in place until the peer is done with them, or has had its time.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "gpu/page_book.hpp"

namespace ballast::gpu::cuda {

// One thread; no clock. Gone before the pools of the pages are.
class lease_book {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  std::uint64_t add(std::vector<page_book::pin> pages, time_point until) {
    leases_.emplace(++last_, lease{std::move(pages), until});
    return last_;
  }
  void release(std::uint64_t id) { leases_.erase(id); }  // no effect on one that has run out
  // Ends what has run out; when the next one will.
  std::optional<time_point> expire(time_point now) {
    std::optional<time_point> next;
    for (auto it = leases_.begin(); it != leases_.end();) {
      if (it->second.until <= now) {
        it = leases_.erase(it);
      } else {
        next = std::min(next.value_or(it->second.until), it->second.until);
        ++it;
      }
    }
    return next;
  }
  bool empty() const noexcept { return leases_.empty(); }

 private:
  struct lease {
    std::vector<page_book::pin> pages;
    time_point until;
  };
  std::map<std::uint64_t, lease> leases_;
  std::uint64_t last_ = 0;
};

}  // namespace ballast::gpu::cuda
