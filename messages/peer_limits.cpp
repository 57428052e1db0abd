#include "messages/peer_limits.hpp"

#include <algorithm>
#include <utility>

namespace ballast {

void rate_limiter::fill(bucket& b, clock::time_point now) const {
  const std::chrono::duration<double> passed = now - b.filled;
  b.tokens = std::min(burst(), b.tokens + per_s_ * passed.count());
  b.filled = now;
}

// Once a second at most: a flood of newcomers must not make every message a walk over all peers.
void rate_limiter::drop_full(clock::time_point now) {
  if (dropped_ != clock::time_point{} && now - dropped_ < std::chrono::seconds(1)) return;
  dropped_ = now;
  for (auto at = buckets_.begin(); at != buckets_.end();) {
    fill(at->second, now);
    at = at->second.tokens >= burst() ? buckets_.erase(at) : std::next(at);
  }
}

rate_limiter::bucket& rate_limiter::bucket_of(const std::string& peer, clock::time_point now) {
  if (const auto found = buckets_.find(peer); found != buckets_.end()) return found->second;
  drop_full(now);
  if (buckets_.size() >= most_peers) return shared_;
  return buckets_.emplace(peer, bucket{burst(), now}).first->second;
}

bool rate_limiter::admits(const std::string& peer, clock::time_point now) {
  if (per_s_ == 0) return true;
  bucket& b = bucket_of(peer, now);
  fill(b, now);
  if (b.tokens < 1) return false;
  b.tokens -= 1;
  return true;
}

waiting_room::place waiting_room::enter(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  count& c = waiting_[peer];
  if (c.waiting >= most_) return std::exchange(c.told, true) ? place::full : place::full_now;
  ++c.waiting;
  return place::taken;
}

void waiting_room::leave(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(peer);
  found->second.told = false;
  if (--found->second.waiting == 0) waiting_.erase(found);
}

}  // namespace ballast
