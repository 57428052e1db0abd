// A deployment of real processes inside a test: coordinator, agents of one rank each, the proxy between them, traffic.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cli/client/control_client.hpp"
#include "cli/local/local_deployment.hpp"
#include "cli/local/work_folder.hpp"
#include "tests/e2e/checked_traffic.hpp"
#include "tests/e2e/control_proxy.hpp"

namespace ballast::test {

struct cluster_options {
  std::size_t agents = 4;
  std::uint32_t initial_ranks = 3;
  std::string coordinator;  // more lines of [coordinator]
  std::string agent;        // more lines of [agent]
  std::string hold;         // held back by the proxy from the start
  bool proxied = true;      // false: agents and coordinator as they are in use, and default times
  std::function<void(message_body&)> rewrite;
};

// One thread. Failures are GoogleTest's.
class process_cluster {
 public:
  explicit process_cluster(const cluster_options& options);
  ~process_cluster();

  local_deployment& processes() { return *processes_; }
  control_proxy& proxy() { return *proxy_; }
  control_client& control() { return *control_; }
  checked_traffic& traffic() { return *traffic_; }
  static std::string agent(std::size_t number);

  cluster_status status();
  seat_status seat_of(const std::string& agent);  // incarnation 0: not there
  std::vector<std::string> agents_in(const std::string& state);
  std::vector<std::string> active() { return agents_in("active"); }
  // Asks anew at every event. False: it did not come true.
  bool wait_until(const std::function<bool(const cluster_status&)>& holds,
                  std::chrono::milliseconds longest = std::chrono::seconds(60));
  bool wait_idle();  // no operation is open
  // When an operation newer than that entered the phase, as events tell.
  std::optional<steady_time> wait_phase(operation_id newer_than, const std::string& phase);
  bool wait_told(const std::string& part);  // until an event's text has that part
  operation_id newest_operation();
  std::optional<operation_status> operation(operation_id id);
  std::optional<operation_id> scale_to(const std::vector<std::string>& agents, bool join_first = false);
  // Exactly these are active, all others that exist are idle, and nothing is under way.
  bool settle(const std::vector<std::string>& agents);
  void start_agent(const std::string& agent);

 private:
  void on_event(const event& news);

  work_folder folder_;
  link_context context_;
  std::unique_ptr<control_proxy> proxy_;
  std::unique_ptr<local_deployment> processes_;
  std::mutex mutex_;  // guards the next four
  std::condition_variable news_;
  std::uint64_t events_ = 0;
  std::vector<std::string> told_;                                       // texts of events
  std::map<std::pair<operation_id, std::string>, steady_time> phases_;  // first entered; of one test's operations
  std::unique_ptr<control_client> control_;
  std::unique_ptr<checked_traffic> traffic_;
};

}  // namespace ballast::test
