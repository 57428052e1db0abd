// The front end of a simulated agent: which request is where, hand-over of a drained rank's sessions. Follows
// agent/front_end, without its links; the sessions themselves are those of production.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/sessions.hpp"
#include "messages/messages.hpp"

namespace ballast::sim {

class rank;

class front {
 public:
  struct ports {
    std::function<std::vector<rank*>()> ranks;                                // of this agent
    std::function<void(const std::string& request, message_body)> to_client;  // by the request's id
    std::function<void(std::uint32_t agent, message_body)> to_front;
    std::function<void(std::uint64_t handover)> watch;  // calls late() when it has taken too long
  };

  front(std::uint32_t agent, const std::vector<model_description>& models, ports p)
      : agent_(agent), models_(models), ports_(std::move(p)) {}

  void on_request(const inference_request& request);
  void on_output(session_output output);
  void on_handover(std::uint32_t from, const session_handover& offer);
  void on_taken(const handover_taken& answer);
  void late(std::uint64_t handover);
  void hand_over(std::vector<session> sessions, const std::vector<session_target>& targets, std::function<void()> done);
  void redirect_to(std::vector<session_target> targets);
  void lose_ranks();  // all start anew: clients are told to look elsewhere
  bool empty() const { return entries_.empty() && leaving_.empty(); }

 private:
  struct entry {
    bool attached = false;
    rank* at = nullptr;
    std::uint32_t next_step = 0;
    std::deque<session_output> backlog;
  };
  struct leaving {
    std::vector<session> sessions;
    std::vector<session_target> targets;
    std::function<void()> done;
  };

  rank* best_rank() const;
  bool reattach(const inference_request& request);
  void start(bool attached, session s);
  void forget(const std::string& id);
  void send_handover(std::uint64_t id);
  void moved(const leaving& batch, std::uint32_t to);
  model_index model_named(const std::string& name) const;

  const std::uint32_t agent_;
  const std::vector<model_description>& models_;
  ports ports_;
  std::map<std::string, entry> entries_;
  std::vector<session_target> elsewhere_;
  std::map<std::uint64_t, leaving> leaving_;
  std::uint64_t next_handover_ = 1;
};

}  // namespace ballast::sim
