// How much one peer of a bound socket may ask for, so that none can starve the others. Time comes from the caller.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace ballast {

struct peer_limits {
  std::uint32_t messages_per_s = 20'000;  // of each peer, with bursts of twice as many; 0: as many as come
  std::uint32_t waiting = 8192;           // messages of a peer that the coordinator has not looked at yet
  std::uint64_t queue_bytes = std::uint64_t{128} << 20;  // that wait to be sent to a peer
  std::uint32_t handshake_ms = 5000;                     // a connection that has not said who it is by then is closed
  bool operator==(const peer_limits&) const = default;
};

// A bucket of tokens a peer. Those that are full again are dropped when a newcomer comes (their peers lose nothing);
// with `most_peers` that are not, newcomers share one bucket until some are. One thread.
class rate_limiter {
 public:
  using clock = std::chrono::steady_clock;
  static constexpr std::size_t most_peers = 4096;

  explicit rate_limiter(std::uint32_t messages_per_s) : per_s_(messages_per_s) {}
  bool admits(const std::string& peer, clock::time_point now);
  std::size_t peers() const { return buckets_.size(); }

 private:
  struct bucket {
    double tokens = 0;
    clock::time_point filled;
  };
  double burst() const { return 2.0 * per_s_; }
  bucket& bucket_of(const std::string& peer, clock::time_point now);
  void fill(bucket& b, clock::time_point now) const;
  void drop_full(clock::time_point now);

  double per_s_;
  std::unordered_map<std::string, bucket> buckets_;
  bucket shared_;
  clock::time_point dropped_{};
};

// Counts the messages of every peer that wait to be looked at. Any thread. Holds the peers that have some waiting.
class waiting_room {
 public:
  enum class place { taken, full, full_now };  // full_now: the first that finds it full since there was room

  explicit waiting_room(std::uint32_t most) : most_(most) {}
  place enter(const std::string& peer);
  void leave(const std::string& peer);  // of one that entered

 private:
  struct count {
    std::uint32_t waiting = 0;
    bool told = false;
  };
  const std::uint32_t most_;
  std::mutex mutex_;
  std::unordered_map<std::string, count> waiting_;
};

}  // namespace ballast
