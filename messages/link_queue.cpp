#include <utility>

#include "messages/link_queue_impl.hpp"

namespace ballast {

link_queue::pushed link_queue::push(outgoing message) {
  const std::lock_guard lock(mutex_);
  const auto [at, made] = lanes_.try_emplace(message.peer);
  lane& l = at->second;
  const std::size_t bytes = message.frame.size();
  if (!made && (l.frames.size() >= max_messages_ || l.bytes + bytes > max_bytes_)) return pushed::refused;
  l.bytes += bytes;
  l.frames.push_back(std::move(message.frame));
  ++count_;
  if (!made) return pushed::queued;
  ready_.push_back(std::move(message.peer));
  return ready_.size() == 1 ? pushed::queued_first : pushed::queued;
}

std::vector<outgoing> link_queue::take(std::size_t most) {
  std::vector<outgoing> taken;
  const std::lock_guard lock(mutex_);
  while (taken.size() < most && !ready_.empty()) {
    std::string peer = std::move(ready_.front());
    ready_.pop_front();
    const auto at = lanes_.find(peer);
    lane& l = at->second;
    l.bytes -= l.frames.front().size();
    taken.push_back({peer, std::move(l.frames.front())});
    l.frames.pop_front();
    --count_;
    if (l.frames.empty())
      lanes_.erase(at);
    else
      ready_.push_back(std::move(peer));
  }
  return taken;
}

void link_queue::hold_up(std::vector<outgoing> unsent) {
  const std::lock_guard lock(mutex_);
  for (auto message = unsent.rbegin(); message != unsent.rend(); ++message) {
    const auto [at, made] = lanes_.try_emplace(message->peer);
    lane& l = at->second;
    l.bytes += message->frame.size();
    l.frames.push_front(std::move(message->frame));
    ++count_;
    if (l.held) continue;
    l.held = true;
    if (!made) std::erase(ready_, message->peer);
    held_.push_back(message->peer);
  }
}

void link_queue::release() {
  const std::lock_guard lock(mutex_);
  for (std::string& peer : held_) {
    lanes_.at(peer).held = false;
    ready_.push_back(std::move(peer));
  }
  held_.clear();
}

bool link_queue::held_up() const {
  const std::lock_guard lock(mutex_);
  return !held_.empty();
}

std::size_t link_queue::size() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

}  // namespace ballast
