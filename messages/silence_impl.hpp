// When a dealer that may turn elsewhere asks whether its peer is still there, and when it leaves it.
#pragma once

#include <chrono>

namespace ballast {

// A question is due after a quarter of `longest` without a word, and another one after each further quarter; a peer that
// has answered none of three by the end of the fourth is left. By questions, not by the clock alone: a process that was
// stopped itself has its peer asked once more before it judges. One thread.
class silence {
 public:
  using clock = std::chrono::steady_clock;
  enum class due { nothing, question, leave };
  static constexpr int questions = 3;

  silence(std::chrono::milliseconds longest, clock::time_point now) : step_(longest / (questions + 1)), last_(now) {}

  // The peer said something, or another one took its place. Older news than the last question is none.
  void broken(clock::time_point when) {
    if (when < last_) return;
    last_ = when;
    asked_ = 0;
  }
  due at(clock::time_point now) {
    if (now < next()) return due::nothing;
    last_ = now;
    if (asked_ == questions) return asked_ = 0, due::leave;
    ++asked_;
    return due::question;
  }
  clock::time_point next() const { return last_ + step_; }

 private:
  const std::chrono::milliseconds step_;
  clock::time_point last_;  // something was heard, or asked
  int asked_ = 0;           // since something was heard
};

}  // namespace ballast
