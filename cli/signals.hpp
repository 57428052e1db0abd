// SIGINT and SIGTERM as an event. While one object lives, the two are blocked in the thread that made it and in every
// thread started after it, so make it before anything that starts threads.
#pragma once

#include <chrono>

namespace ballast {

class stop_signal {
 public:
  stop_signal();
  ~stop_signal();
  stop_signal(const stop_signal&) = delete;
  stop_signal& operator=(const stop_signal&) = delete;

  bool raised();                                 // whether one has come; never waits
  bool wait(std::chrono::milliseconds longest);  // until one comes; false: none came
  void wait();

 private:
  int descriptor_ = -1;
  bool raised_ = false;
};

}  // namespace ballast
