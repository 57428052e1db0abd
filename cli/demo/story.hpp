// The demo's course of events: what is asked of the deployment, in which order, and what is measured meanwhile.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cli/client/control_client.hpp"
#include "cli/local/answers.hpp"
#include "cli/demo/deployment.hpp"
#include "cli/demo/report.hpp"
#include "cli/demo/view.hpp"
#include "cli/load/load_generator.hpp"
#include "cli/signals.hpp"

namespace ballast {

// One thread, the one that made it.
class demo_story {
 public:
  demo_story(demo_deployment& deployment, const demo_settings& settings, demo_view& view, stop_signal& stop);

  // From the first seat to the last answer. The report lacks only the comparison.
  result<demo_report> run();
  const std::vector<kept_answer>& answers() const noexcept { return answers_; }
  request_maker maker() const;
  double seconds() const;

 private:
  using moment = std::chrono::steady_clock::time_point;
  using condition = std::function<bool()>;

  status connect();
  status wait_for_seats();
  status start_traffic();
  status measure_quiet();
  status rebalance();
  status scale(const std::string& phase, const scale_request& request);
  status lose_a_seat();
  status drain();

  // Watches and draws until the condition holds. Errors: timed_out, aborted (a signal), unavailable (a process ended).
  status until(const std::string& phase, std::chrono::milliseconds longest, const condition& holds);
  status stay(const std::string& phase, std::chrono::milliseconds length);  // the same for a length of time
  status follow(const std::string& phase, operation_id id, moment began);   // to its outcome, into the report
  void look();                                                              // asks for the status and draws
  void record(const operation_status& op, moment began);
  void on_event(const event& news);
  const operation_status* find(const std::function<bool(const operation_status&)>& wanted) const;
  std::vector<seat_status> seats_in(const std::string& state) const;
  moment ended_at(operation_id id);

  demo_deployment& deployment_;
  demo_settings settings_;
  demo_view& view_;
  stop_signal& stop_;
  moment began_;
  demo_report report_;
  cluster_status cluster_;
  std::string phase_;
  struct span {
    moment from, to;
  };
  span quiet_;
  std::vector<span> spans_;  // of the report's operations

  link_context context_;
  std::mutex mutex_;  // guards the next three
  std::condition_variable news_;
  bool has_news_ = false;
  std::map<operation_id, moment> ended_;  // when an event told that an operation was over
  std::vector<kept_answer> answers_;      // written on the client's thread while traffic runs
  request_maker make_;
  std::unique_ptr<control_client> control_;
  std::unique_ptr<load_generator> traffic_;
};

}  // namespace ballast
