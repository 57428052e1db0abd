// Client traffic: requests made by a function of their number, at a rate (open loop) or a bounded number at once
// (closed loop), with the times of every answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "cli/client/serving_client.hpp"
#include "cli/load/latency.hpp"

namespace ballast {

struct load_options {
  double request_rate = 0;        // requests a second, exponential gaps drawn from `seed`; 0: closed loop
  std::uint32_t concurrency = 8;  // requests at once in the closed loop
  std::uint64_t requests = 0;     // in all; 0: until stop()
  std::uint64_t seed = 1;
};

// One gap between two outputs of a request, at the time of the later one.
struct step_sample {
  steady_time at{};
  double milliseconds = 0;
};

struct load_totals {
  std::uint64_t sent = 0, answered = 0, failed = 0, outputs = 0, tokens = 0;  // tokens: output tokens
  std::uint64_t resends = 0, moves = 0, duplicates = 0;
  std::vector<std::string> failures;  // the first few, as text
};

class load_generator {
 public:
  using source = std::function<inference_request(std::uint64_t number)>;  // on the generator's threads, one at a time
  using sink = std::function<void(const request_record&)>;                // on the client's thread; must not block

  static result<std::unique_ptr<load_generator>> start(link_context& context, serving_options serving,
                                                       load_options load, source make, sink on_record = {});
  ~load_generator();  // abandons what still runs

  void stop();                                   // sends no more; what runs goes on
  bool wait(std::chrono::milliseconds longest);  // until all was sent and answered
  serving_client& client() noexcept;

  load_totals totals() const;
  std::vector<double> first_output_ms() const;  // of every ended request, from submission
  // Gaps between outputs that overlap [from, to]. Those of a request are known when it has ended.
  std::vector<double> step_ms(steady_time from = steady_time::min(), steady_time to = steady_time::max()) const;

 private:
  struct impl;
  explicit load_generator(std::unique_ptr<impl> made);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast
