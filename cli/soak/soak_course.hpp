// What is done to the deployment during a soak, drawn from a seed, and what is looked at after each of it.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>

#include "cli/client/control_client.hpp"
#include "cli/local/local_deployment.hpp"
#include "cli/signals.hpp"
#include "cli/soak/soak_report.hpp"

namespace ballast {

struct soak_settings {
  std::uint32_t agents = 5;
  std::uint32_t steady =
      2;  // the first agents are never killed, only hung: their memory is watched for as long as it runs
  std::uint32_t initial_ranks = 3;
  double coordinator_kills = 0.4;  // in this first part of the soak only: then its memory is watched, too
};

// One thread, the one that made it.
class soak_course {
 public:
  soak_course(local_deployment& processes, soak_traffic& traffic, const soak_settings& settings, std::uint64_t seed,
              stop_signal& stop);
  status connect(link_context& context, const control_options& options);
  // One thing after the other, until so much time is over or a signal came. Error: what went wrong.
  status run(std::chrono::duration<double> length, soak_report& report);

 private:
  using condition = std::function<bool()>;

  status one_thing();
  status scale();
  status rebalance();
  status abort_something();
  status kill_during_something();
  status kill_coordinator();
  status hang_one();
  status rest();
  status weigh();

  // Watches until the condition holds. Errors: timed_out, aborted (a signal), unavailable (a process ended by itself).
  status until(const std::string& what, std::chrono::milliseconds longest, const condition& holds);
  status pause(std::chrono::milliseconds length);
  status all_back();
  status settle();  // no operation is open, and answers come
  status count_pages();
  void look();  // asks for the status, notes what ended, reads what processes hold
  std::uint64_t draw(std::uint64_t below) {
    return std::uniform_int_distribution<std::uint64_t>(0, below - 1)(random_);
  }
  std::string agent(std::uint64_t number) const;
  double seconds() const;

  local_deployment& processes_;
  soak_traffic& traffic_;
  const soak_settings settings_;
  stop_signal& stop_;
  std::mt19937_64 random_;
  std::chrono::steady_clock::time_point began_, looked_{};
  std::chrono::steady_clock::time_point spare_coordinator_;  // from then on
  bool coordinator_away_ = false, weighing_ = false;
  soak_report* report_ = nullptr;
  vitals_watch watch_;
  cluster_status cluster_;
  operation_id noted_ = 0;  // operations up to it are in the report, or open
  std::set<operation_id> open_;
  std::mutex mutex_;  // guards the next two
  std::condition_variable news_;
  bool has_news_ = false;
  std::unique_ptr<control_client> control_;
};

}  // namespace ballast
