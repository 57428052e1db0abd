// A node's agent: its ranks, their forward loops, its link to the coordinator and its front end for clients.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/model/model_source.hpp"
#include "gpu/device.hpp"
#include "messages/link.hpp"
#include "messages/result.hpp"
#include "messages/types.hpp"

namespace ballast {

struct agent_config {
  std::string name;                               // unique in the deployment
  std::string node;                               // seats of one node share a fast link; default: host name
  std::string coordinator;                        // address of the control gateway; of several that may lead: with commas between
  std::string front_end = "tcp://127.0.0.1:*";    // clients connect here
  std::string advertise;                          // host that others reach this agent by; default: as bound
  std::string data = "ipc:///tmp/ballast-*";      // address pattern for tokens and weights (gpu::device_options::bind)
  std::string backend = "host";
  bool verify_pages = true;                       // of experts that are copied within a host
  std::uint32_t first_gpu = 0;                    // rank r stands on GPU (first_gpu + r) modulo their number
  gpu::exchange_kind exchange = gpu::exchange_kind::automatic;
  std::uint32_t nccl_ctas = 8;
  std::uint32_t max_members = 8;                  // ranks that a GPU rank has buffers to exchange tokens with
  std::uint32_t ranks = 1;
  std::vector<model_capacity> capacity;           // by model
  std::uint32_t max_batch_tokens = 256;
  std::uint64_t session_bytes = std::uint64_t{64} << 20;
  std::uint64_t client_session_bytes = std::uint64_t{48} << 20;  // of it, for one client
  std::uint32_t collective_timeout_ms = 10'000;
  double transfer_gbps = 100;                     // GB/s of weights that a rank may pull; 0: as fast as they go
  std::vector<model_spec> models;
  link_security security;                         // for the process's link_context
};

// Reads [agent] and [[model]] of a deployment's TOML file. Errors: one line naming key, file line and remedy.
result<agent_config> read_agent_config(const std::string& path);

class agent {
 public:
  // Opens the models and sockets, starts every thread, says hello to the coordinator (and keeps trying: it may come later).
  // `context` must outlive the agent. Errors: those of opening models and addresses; does_not_fit.
  static result<std::unique_ptr<agent>> start(link_context& context, agent_config config);
  ~agent();  // stops

  const std::string& front_end() const noexcept;  // bound address
  // Set once the coordinator refused this agent for good (wrong model, wrong version): the reason.
  result<void> verdict() const;
  void stop();  // joins every thread; idempotent

 private:
  struct impl;
  explicit agent(std::unique_ptr<impl> made);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast
