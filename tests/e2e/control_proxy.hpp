// Stands between agents and the coordinator, passes everything on, and can hold outcomes back: so a test can stop real
// processes in a phase of its choice.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "messages/link.hpp"

namespace ballast::test {

// Threads: every function from any. An agent whose connection closes here loses its own to the coordinator at once.
class control_proxy {
 public:
  // Agents connect to `front`. `rewrite` may change what agents say before it is passed on.
  control_proxy(link_context& context, std::string front, std::string coordinator,
                std::function<void(message_body&)> rewrite = {});
  ~control_proxy();

  // From now on no outcome of such a command is passed on; what was held before stays held.
  void hold(const std::string& command);
  // Until an outcome of such a command is held. False: none came in time.
  bool wait_held(const std::string& command, std::chrono::milliseconds longest);
  // Passes on what is held, but for what `lost` said, and holds nothing more.
  void release(const std::string& lost = {});
  // The greatest incarnation of the agent's seats that was fenced off so far, 0: none.
  incarnation_t fenced(seat_id seat) const;

 private:
  struct held_message {
    std::string peer, command;
    envelope message;
  };

  void on_connection(const std::string& peer, bool open);
  void from_agent(const std::string& peer, envelope message);
  void from_coordinator(const std::string& peer, envelope message);
  bool is_held(const std::string& peer, const envelope& message);

  link_context& context_;
  const std::string coordinator_;
  const std::function<void(message_body&)> rewrite_;
  mutable std::mutex mutex_;  // guards what follows, up to the links
  std::condition_variable changed_;
  std::string held_command_;
  std::vector<held_message> held_;
  std::map<std::pair<seat_id, std::uint64_t>, std::string> commands_;  // by sequence; one deployment's few hundred
  std::map<seat_id, incarnation_t> fenced_;
  std::mutex links_mutex_;                                       // guards the next
  std::map<std::string, std::shared_ptr<link>> to_coordinator_;  // by agent; ends before `front_`
  std::unique_ptr<link> front_;
};

}  // namespace ballast::test
