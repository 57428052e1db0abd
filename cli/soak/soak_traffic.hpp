// The soak's requests: a few hundred different ones again and again, so that every answer can be compared at once with
// the first to the same request, and those with a static rank in the end.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cli/client/serving_client.hpp"
#include "cli/local/answers.hpp"

namespace ballast {

struct soak_counts {
  std::uint64_t answered = 0, failed = 0, different = 0;
  std::string first_problem;  // for people; empty: none
};

class soak_traffic {
 public:
  // `make` gives the request of each number below `distinct`; ids are drawn here.
  static result<std::unique_ptr<soak_traffic>> start(link_context& context, serving_options serving, request_maker make,
                                                     std::uint64_t distinct, std::size_t at_once);
  ~soak_traffic();
  soak_counts counts() const;
  // Sends no more and waits for what runs. Error: timed_out, with how many are lost.
  status drain(std::chrono::milliseconds longest);
  std::vector<kept_answer> first_answers() const;
  std::size_t running() const { return client_->running(); }

 private:
  soak_traffic(request_maker make, std::uint64_t distinct) : make_(std::move(make)), distinct_(distinct) {}
  void submit();
  void on_done(const request_record& record);
  void compare(std::uint64_t number, const request_record& record);

  const request_maker make_;
  const std::uint64_t distinct_;
  mutable std::mutex mutex_;  // guards what follows, up to the client
  std::uint64_t next_ = 0;
  bool stopped_ = false;
  soak_counts counts_;
  std::map<std::uint64_t, kept_answer> first_;
  std::unique_ptr<serving_client> client_;  // last: its thread calls into all the above
};

}  // namespace ballast
