// What a link has still to send: one lane a peer, so that a peer that does not read holds up nobody else.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "messages/codec.hpp"

namespace ballast {

struct outgoing {
  std::string peer;
  byte_buffer frame;
};

// Bounds, per peer: `messages` and `bytes`; at either, push() refuses and what is queued stays. A peer with nothing
// queued may always queue one. push(), close() and size() from any thread; the rest on the link's thread.
class link_queue {
 public:
  link_queue(std::size_t messages, std::size_t bytes) : max_messages_(messages), max_bytes_(bytes) {}

  enum class pushed { refused, queued, queued_first };  // queued_first: nothing was ready before, so wake the link
  pushed push(outgoing message);

  // The oldest messages of peers that are not held up, turn about, in order for each peer.
  std::vector<outgoing> take(std::size_t most);
  // After take(): these were not taken by the socket; they go back to the front and their peers are held up.
  void hold_up(std::vector<outgoing> unsent);
  void release();  // try the peers that are held up again
  bool held_up() const;
  std::size_t size() const;  // not counting what take() handed out

 private:
  struct lane {
    std::deque<byte_buffer> frames;
    std::size_t bytes = 0;
    bool held = false;
  };

  const std::size_t max_messages_, max_bytes_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, lane> lanes_;  // no empty ones
  std::deque<std::string> ready_;                // lanes not held up, in the order of their turns
  std::vector<std::string> held_;
  std::size_t count_ = 0;
};

}  // namespace ballast
