// Closed-loop traffic of a client that keeps every answer, and the comparison of all with one static rank.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/model/model_source.hpp"
#include "cli/client/serving_client.hpp"

namespace ballast::test {

class checked_traffic {
 public:
  static constexpr std::uint32_t tokens = 2, hidden = 32;  // of every request; the models' width

  checked_traffic(link_context& context, serving_options options, std::vector<model_spec> models);
  ~checked_traffic();
  serving_client& client() { return *client_; }

  // `width` requests at once, each followed by a new one, until stop().
  void start(std::size_t width, std::uint32_t steps = 12, const std::string& model = "tiny");
  void stop();  // and waits for every answer
  // Waits until so many more requests were answered.
  void await_answers(std::size_t more);
  // Every answer so far equals, bit for bit, what one static rank computes; none failed. Then they are forgotten.
  void expect_all_exact(std::size_t at_least = 1);
  // Waits for the first output later than `moment`; of the last few thousand.
  std::optional<steady_time> first_output_after(steady_time moment, std::chrono::milliseconds longest);

 private:
  void compare(const model_spec& spec, std::uint32_t steps, const std::vector<const inference_request*>& requests);
  void submit(const std::string& model, std::uint32_t steps);
  void keep(const std::string& id, const std::vector<float>& output);
  void on_done(const request_record& record);

  const std::vector<model_spec> models_;
  static constexpr std::size_t kept_outputs = 16384;
  std::mutex mutex_;
  std::condition_variable progress_;
  std::size_t number_ = 0;
  std::map<std::string, inference_request> sent_;
  std::map<std::string, std::vector<float>> last_;
  std::size_t answered_ = 0;
  std::deque<steady_time> outputs_;  // of the newest, at most kept_outputs
  std::atomic<bool> flowing_ = false;
  std::unique_ptr<serving_client> client_;  // last: its thread calls into all the above
};

}  // namespace ballast::test
