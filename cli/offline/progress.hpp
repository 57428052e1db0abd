// A line that tells how far something is, on a terminal, once it takes longer than a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <mutex>
#include <string>

namespace ballast::offline {

// `to` null: says nothing. Any thread may call at(). The line is wiped when the object goes.
class progress {
 public:
  progress(std::ostream* to, std::string what) : to_(to), what_(std::move(what)) {}
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  ~progress();

  void at(std::uint64_t done, std::uint64_t of);  // of 0: not known

 private:
  using clock = std::chrono::steady_clock;
  std::mutex mutex_;
  std::ostream* to_;
  std::string what_;
  clock::time_point began_ = clock::now(), shown_{};
  bool visible_ = false;
};

std::string progress_line(const std::string& what, std::uint64_t done, std::uint64_t of, double seconds);

}  // namespace ballast::offline
