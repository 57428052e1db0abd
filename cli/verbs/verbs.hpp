// The verbs of `ballast`, one function each, free of command-line parsing. Each prints its result to `out` (with
// `json`: exactly one document; `watch`: one a line) and answers an error that main prints as one line.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "messages/link.hpp"
#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

struct common_options {
  std::string coordinator = "tcp://127.0.0.1:7070";
  std::string events = "tcp://127.0.0.1:7071";
  bool json = false;
  double timeout_s = 5;  // for an answer
  std::string keys;        // key pair's file; empty: plain, on loopback
  std::string server_key;  // public key of the coordinator, where its addresses do not say it
  bool insecure = false;   // plain to any address
};


struct scale_options {
  std::uint32_t ranks = 0;
  std::vector<std::uint32_t> seats;
  bool join_first = false;
  bool wait = true;
  double deadline_s = 120;  // for the operation
};

struct rebalance_options {
  std::string model;
  bool dry_run = false, force = false, wait = true;
  double deadline_s = 120;
};

struct watch_options {
  std::uint64_t count = 0;  // events after which to end; 0: none
  double seconds = 0;       // after which to end; 0: none
};

struct serve_options {
  std::string config;
  std::uint32_t ranks = 0;                // 0: as the file says
  std::string listen, events, front_end;  // addresses others may use; empty: as the file says, or none
};

struct bench_options {
  std::string model;
  double request_rate = 0;  // a second; 0: closed loop with `concurrency`
  std::uint32_t concurrency = 8;
  std::uint64_t num_requests = 0;
  double duration_s = 0;
  std::uint32_t tokens = 4, steps = 8;
  std::string topics;  // checkpoint folder with topics.json; empty: random inputs
  std::uint64_t seed = 1;
};

namespace verbs {

// The keys that a verb's connections use. Errors: those of the key file.
status secure(link_context& context, const common_options& common);

status keygen(const common_options& common, const std::string& file, std::ostream& out);
status show_status(const common_options& common, std::ostream& out);
status scale(const common_options& common, const scale_options& options, std::ostream& out);
status rebalance(const common_options& common, const rebalance_options& options, std::ostream& out);
status list_operations(const common_options& common, std::ostream& out);
status abort(const common_options& common, operation_id id, std::ostream& out);
status watch(const common_options& common, const watch_options& options, std::ostream& out);
status serve(const common_options& common, const serve_options& options, std::ostream& out);
status bench(const common_options& common, const bench_options& options, std::ostream& out);

}  // namespace verbs

// Parses the command line and runs one verb. Exit code: 0 done, 1 refused or failed, 2 usage.
int run_program(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace ballast
