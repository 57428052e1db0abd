// The operator's side of the control gateway: ask, command, wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "messages/link.hpp"
#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

struct control_options {
  std::string coordinator;  // control gateway; of several that may lead: with commas between
  std::string events;       // its event publisher (or theirs); empty: operations are watched by asking only
  std::string name = "ballast";
  std::chrono::milliseconds attempt{500};    // an unanswered request is sent again under the same id
  std::chrono::milliseconds deadline{5000};  // for any answer
  std::chrono::milliseconds poll{200};       // events are lossy: while waiting, the state is also asked for
};

// Threads: every function from any thread; they block until answered. Errors of each: unavailable (no answer within the
// deadline), and whatever the coordinator refuses with.
class control_client {
 public:
  using event_handler = std::function<void(const event&)>;                // on the link's thread; must not block
  using progress_handler = std::function<void(const operation_status&)>;  // on the caller's thread

  // Subscribes to the events before anything is sent. `context` must outlive the client.
  static result<std::unique_ptr<control_client>> connect(link_context& context, control_options options,
                                                         event_handler on_event = {});
  ~control_client();
  control_client(const control_client&) = delete;
  control_client& operator=(const control_client&) = delete;

  result<cluster_status> get_status();
  result<std::vector<operation_status>> operations();
  // An empty `request` gets an id of its own, so that sending it again is harmless. Answer: the operation's id.
  result<operation_id> scale(scale_request request);
  result<operation_id> rebalance(rebalance_request request);
  result<rebalance_preview> preview(rebalance_request request);  // dry_run
  status abort(operation_id id);

  // Until the operation has an outcome (done, aborted, failed); `on_progress` at every change of phase or awaited
  // seats. Errors: timed_out, not_found.
  result<operation_status> wait(operation_id id, std::chrono::milliseconds deadline,
                                const progress_handler& on_progress = {});

 private:
  struct impl;
  explicit control_client(std::unique_ptr<impl> made);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast
