// The sessions of one rank: running requests, each standing at a step with its hidden state. Plain data, no threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "messages/types.hpp"

namespace ballast {

struct session {
  std::string id;
  model_index model = 0;
  std::uint32_t tokens = 0;
  std::uint32_t steps = 0;      // in all
  std::uint32_t next_step = 0;  // the step whose input `hidden` is
  std::vector<float> hidden;    // [tokens][hidden]
};

// Output of one step of a session; `last` when the session is complete.
struct session_output {
  std::string id;
  std::uint32_t step = 0;
  bool last = false;
  std::vector<float> hidden;
};

// Which sessions take part in a step: first come first served up to the batch capacity, then in turn, so that none starves.
// Threads: the rank's issuing thread only.
class session_board {
 public:
  explicit session_board(std::uint32_t max_batch_tokens) : max_batch_tokens_(max_batch_tokens) {}

  void add(session s);
  bool remove(const std::string& id);
  std::vector<session> take_all();

  // Sessions of `model` for the next step, at most max_batch_tokens in all. The pointers hold until the next change.
  const std::vector<session*>& pick(model_index model);
  // The picked sessions of `model` made their step: `hidden` is all their rows in pick order. Finished ones leave the board,
  // the others go to the end of the line.
  std::vector<session_output> advance(model_index model, const std::vector<float>& hidden);

  bool empty() const noexcept { return count_ == 0; }
  std::size_t count() const noexcept { return count_; }

 private:
  std::uint32_t max_batch_tokens_;
  std::size_t count_ = 0;
  std::list<session> lines_[max_models];
  std::vector<session*> picked_[max_models];
};

}  // namespace ballast
