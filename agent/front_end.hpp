// Where clients meet an agent: takes requests, gives them to ranks as sessions, streams outputs back, and passes the
// sessions of a drained rank on to another agent mid-stream.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/sessions.hpp"
#include "messages/link.hpp"

namespace ballast {

// Threads: every function may be called from any thread; none blocks. Requests arrive on the link's thread, outputs on the
// ranks' issuing threads.
// Bounds: session_bytes over all sessions, and client_bytes over those of one client (a request beyond either is refused
// as unavailable); `backlog_limit` outputs kept for a session that no client is attached to, session_bytes over all (older
// ones go: the client starts again from its own last output). A client is known by its key's name, else by its connection.
class front_end {
 public:
  struct served_model {
    std::string name;
    std::uint32_t hidden = 0;
  };
  struct options {
    std::string address;    // to bind
    std::string advertise;  // host that others reach it by; empty: as bound
    std::string name;
    std::vector<served_model> models;
    std::uint32_t max_batch_tokens = 256;
    std::uint64_t session_bytes = 0;
    std::uint64_t client_bytes = 0;  // 0: one client may use all of it
  };
  struct rank_port {
    std::function<void(session)> add;
    std::function<void(std::string)> cancel;
  };

  static constexpr std::size_t backlog_limit = 64;
  static constexpr std::uint64_t session_overhead = 256;     // bytes counted beside a session's id and hidden states
  static constexpr std::chrono::seconds unattached_for{30};  // then the session is given up
  static constexpr std::chrono::seconds handover_for{2};     // then the next target is tried

  static result<std::unique_ptr<front_end>> open(link_context& context, options o, std::vector<rank_port> ranks);
  ~front_end();

  const std::string& address() const noexcept { return address_; }

  // Whether the rank takes new sessions.
  void set_accepting(std::uint32_t local_rank, bool accepting);
  void on_output(session_output output);
  // Passes sessions on, to a rank of this agent or to another agent; their clients are told. `done` is called once, when
  // every session has a new home or its client knows that it must look for one.
  void hand_over(std::vector<session> sessions, const std::vector<session_target>& targets, std::function<void()> done);
  // Where requests are sent while no rank here accepts any.
  void redirect_to(std::vector<session_target> targets);
  // Deadlines; called a few times a second.
  void tick(std::chrono::steady_clock::time_point now);

  std::size_t sessions() const;
  std::size_t neighbours() const;  // agents that it is connected to, as sessions are on their way there
  refusal_counts refusals() const;  // at the socket, and in this process by keys
  void stop();

 private:
  struct entry {
    std::string peer;  // the client's routing id; empty: not attached yet, or gone
    std::string owner;                      // whose quota it is part of
    std::uint64_t bytes = 0;
    std::uint32_t local_rank = 0;
    model_index model = 0;
    std::uint32_t tokens = 0;
    std::uint32_t next_step = 0;            // output expected next from the rank
    bool moving = false;                    // being handed over: no rank has it
    std::deque<session_output> backlog;     // while nobody is attached
    std::chrono::steady_clock::time_point since;
  };
  struct leaving {  // one batch of sessions under way to one agent
    std::vector<session> sessions;
    std::vector<session_target> targets;    // still to be tried, the one in use first
    std::shared_ptr<std::function<void()>> done;  // called when the last batch lets go
    std::chrono::steady_clock::time_point deadline;
  };

  explicit front_end(link_context& context, options o, std::vector<rank_port> ranks);

  void on_message(const std::string& peer, envelope message);
  void on_request(const std::string& peer, inference_request request);
  void on_gone(const std::string& peer);
  bool reattach(const std::string& peer, const std::string& owner, const inference_request& request);
  status admissible(const inference_request& request, model_index& model) const;
  status within_quota(const std::string& owner, const inference_request& request, model_index model) const;
  std::uint64_t bytes_of(const std::string& id, model_index model, std::uint32_t tokens) const;
  void start(const std::string& peer, const std::string& owner, session s);
  void charge(entry& e, const std::string& owner);  // to a client's quota
  void release(const entry& e);
  void keep(entry& e, session_output output);
  void drop_backlog(entry& e);
  int best_rank() const;
  void on_handover(const std::string& peer, const session_handover& offer);
  void on_taken(const handover_taken& answer);
  void send_handover(std::uint64_t id);
  std::vector<std::unique_ptr<link>> take_unused_neighbours();
  void keep_deadlines(std::chrono::steady_clock::time_point now);
  void sessions_moved(const leaving& batch, const std::string& front_end_address);
  void send(const std::string& peer, message_body body);
  void send_output(const std::string& peer, session_output output);
  void forget(const std::string& id);

  link_context& context_;
  const options options_;
  const std::vector<rank_port> ranks_;
  std::string address_;

  mutable std::mutex mutex_;  // guards all below
  std::vector<bool> accepting_;
  std::vector<std::uint64_t> queued_tokens_;  // by rank
  std::uint64_t bytes_ = 0, backlog_bytes_ = 0;
  std::unordered_map<std::string, std::uint64_t> held_by_;  // bytes of each owner that has sessions
  std::unordered_map<std::string, entry> entries_;
  std::vector<session_target> elsewhere_;
  std::uint64_t next_handover_ = 1;
  std::map<std::uint64_t, leaving> leaving_;
  std::map<std::string, std::unique_ptr<link>> neighbours_;  // by address
  std::unique_ptr<link> link_;  // last: its thread calls into all the above
};

}  // namespace ballast
