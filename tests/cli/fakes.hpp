// A coordinator and agents that only speak: for tests of clients, over inproc.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "messages/link.hpp"

namespace ballast::fakes {

inline constexpr std::chrono::seconds soon{20};  // reached only when something is broken

// What the fake model answers: a function of the input alone.
std::vector<float> next_hidden(std::vector<float> hidden);

class fake_coordinator {
 public:
  // `answer` sees every message first; nothing returned means: the default answer.
  using responder = std::function<std::vector<message_body>(const message_body&)>;
  fake_coordinator(link_context& context, const std::string& control, const std::string& events, responder answer = {});

  void set_seat(std::uint32_t seat, const std::string& state, const std::string& front_end, bool tell = true);
  void publish(event news);  // numbered here
  std::uint64_t received(const std::string& type) const;
  const std::string& address() const { return control_->address(); }
  const std::string& events_address() const { return events_->address(); }

 private:
  void on(const std::string& peer, const envelope& message);
  cluster_status status_locked() const;

  responder answer_;
  mutable std::mutex mutex_;
  std::map<seat_id, seat_status> seats_;
  std::map<std::string, std::uint64_t> received_;
  std::uint64_t sequence_ = 0;
  std::unique_ptr<link> events_, control_;
};

// Runs each request at once; `plan` may change what a client sees of it.
struct agent_plan {
  std::uint32_t ignore = 0;          // so many requests are not answered at all
  std::uint32_t outputs = 1u << 30;  // so many outputs of each request, then silence…
  std::string moved_to;              // …or, if set, word that the request has moved there
  std::uint32_t refusals = 0;        // so many requests are refused with `refusal`
  error refusal{errc::does_not_fit, "full"};
  bool twice = false;       // every output twice
  bool wrong_twin = false;  // the second one with other bits
};

class fake_agent {
 public:
  fake_agent(link_context& context, const std::string& address, agent_plan plan = {});
  std::uint64_t requests() const noexcept { return requests_; }
  std::uint32_t last_first_step() const noexcept { return last_first_step_; }
  const std::string& address() const { return link_->address(); }

 private:
  void on(const std::string& peer, const envelope& message);
  void run(const std::string& peer, inference_request request);

  agent_plan plan_;  // the link's thread only
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<std::uint32_t> last_first_step_{0};
  std::unique_ptr<link> link_;
};

}  // namespace ballast::fakes
