// What the link tests share: an inbox that can be waited on, and addresses that meet nobody else.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "messages/link.hpp"

namespace ballast {

constexpr std::chrono::seconds patience{60};  // far beyond what a loaded machine needs; only a failure waits that long

class inbox {
 public:
  using letter = std::pair<std::string, envelope>;

  link::handler handler() {
    return [this](const std::string& peer, envelope message) { put({peer, std::move(message)}); };
  }
  void put(letter l) {
    const std::lock_guard lock(mutex_);
    letters_.push_back(std::move(l));
    arrived_.notify_all();
  }
  // The first `count` letters, or fewer if they do not come.
  std::vector<letter> wait_for(std::size_t count, std::chrono::milliseconds longest = patience) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, longest, [&] { return letters_.size() >= count; });
    return letters_;
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    letters_.clear();
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return letters_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<letter> letters_;
};

// An address to bind: for tcp the real port is in link::address() afterwards.
inline std::string fresh_address(const std::string& transport) {
  static int count = 0;
  const std::string name = "ballast_link_" + std::to_string(getpid()) + "_" + std::to_string(++count);
  if (transport == "ipc") return "ipc://" + testing::TempDir() + name;
  return transport == "tcp" ? "tcp://127.0.0.1:*" : "inproc://" + name;
}

inline std::unique_ptr<link> opened(link_context& context, link_options options, link::handler on_message) {
  auto made = link::open(context, std::move(options), std::move(on_message));
  EXPECT_TRUE(made) << made.error().text;
  return made ? std::move(*made) : nullptr;
}

inline link_options router_at(const std::string& address) {
  link_options o;
  o.kind = link_kind::router;
  o.address = address;
  o.bind = true;
  o.name = "router";
  return o;
}
inline link_options dealer_to(const std::string& address, const std::string& identity) {
  link_options o;
  o.kind = link_kind::dealer;
  o.address = address;
  o.identity = identity;
  o.name = identity;
  return o;
}

inline envelope numbered(std::uint64_t id, std::size_t payload = 0) {
  return {id, "test", cancel_request{std::string(payload, 'x')}};
}

}  // namespace ballast
