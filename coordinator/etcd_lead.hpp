// The lead among several coordinators: a key in etcd under a lease that its owner keeps alive. The key's revision of
// creation is the term; whatever a leader writes is written on condition that the key is still that of its term.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/etcd_client.hpp"
#include "coordinator/store.hpp"

namespace ballast {

class etcd_lead {
 public:
  // One attempt, over `client`; `name` is what others read of who leads. Errors: conflict (another one leads; the text
  // is its name), those of etcd_client.
  static result<std::unique_ptr<etcd_lead>> take(etcd_client& client, const std::string& key, const std::string& name);
  ~etcd_lead();  // gives it up, so that another one can lead at once

  std::uint64_t term() const noexcept { return static_cast<std::uint64_t>(created_); }
  const std::string& key() const noexcept { return key_; }
  // Any thread. `ours` ends by this process's clock before the lease can have ended by etcd's.
  possession held() const noexcept;
  void lose() noexcept { lost_ = true; }  // what was written on condition was refused

 private:
  using clock = std::chrono::steady_clock;
  etcd_lead(etcd_client client, std::string key, std::int64_t lease);
  void holds(clock::time_point asked, std::chrono::seconds lasts) noexcept;
  void keep();

  const std::string key_;
  const std::int64_t lease_;
  std::int64_t created_ = 0;
  std::atomic<clock::rep> until_{0};
  std::atomic<bool> lost_{false};
  std::mutex mutex_;  // guards stopping_
  std::condition_variable stop_;
  bool stopping_ = false;
  etcd_client client_;  // the keeping thread's own
  std::thread keeper_;
};

}  // namespace ballast
