// What a client knows of its running requests: where each was sent, how far its answer has come, when to send it again.
// Pure: no clock, no sockets, no threads. Events go in with the time they happened at; effects come out in order.
//
// A request is never lost: while it is unanswered it is sent again whenever its front end goes away, refuses it as busy
// or stays silent, each time from the last output the client has. Sending again is harmless (requests carry ids), so an
// output may arrive twice; the second one must be the same bits, or the request fails as corrupt.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "messages/messages.hpp"

namespace ballast {

using steady_time = std::chrono::steady_clock::time_point;

struct book_options {
  std::chrono::milliseconds progress_deadline{500};  // silent so long: sent again
  std::uint32_t patience = 4;                        // silences in a row before another front end is tried
  std::chrono::milliseconds refusal_pause{50};       // before a request refused as busy is sent again
  std::chrono::milliseconds give_up{120'000};        // no output for so long: failed as timed_out
  bool keep_outputs = false;                         // every step's output in the record, not only the last
};

// Everything about one request, handed over when it ends. `arrivals` and `digests` are by step.
struct request_record {
  inference_request request;  // as submitted
  std::optional<error> failure;
  steady_time submitted{};
  std::vector<steady_time> arrivals;
  std::vector<std::uint64_t> digests;       // of each output's bytes
  std::vector<std::vector<float>> outputs;  // [step][tokens * hidden]; the last only, unless keep_outputs
  std::uint32_t sends = 0, moves = 0, refusals = 0, duplicates = 0;
};

std::uint64_t digest_of(const std::vector<float>& values) noexcept;

namespace book_effect {
struct send {
  std::string front_end;
  inference_request request;
};
struct output {
  std::string id;
  std::uint32_t step = 0;
  std::vector<float> hidden;
};
struct finished {
  request_record record;
};
}  // namespace book_effect
using request_effect = std::variant<book_effect::send, book_effect::output, book_effect::finished>;
using request_effects = std::vector<request_effect>;

class request_book {
 public:
  explicit request_book(book_options options) : options_(options) {}

  request_effects submit(inference_request request, steady_time now);
  // Front ends that take new requests, and those that still serve the ones they have. Requests elsewhere are sent anew.
  request_effects front_ends(const std::set<std::string>& open, const std::set<std::string>& alive, steady_time now);
  request_effects on(inference_output output, steady_time now);
  request_effects on(const request_moved& moved, steady_time now);
  request_effects on(const request_refused& refused, steady_time now);
  request_effects tick(steady_time now);

  std::optional<steady_time> next_due() const;  // when tick() has something to do
  std::size_t running() const noexcept { return requests_.size(); }
  std::size_t waiting() const;  // not assigned to any front end
  bool uses(const std::string& front_end) const;

 private:
  struct entry {
    request_record record;
    std::string front_end;                                                      // empty: none yet
    std::vector<float> last;                                                    // input of the next step
    std::map<std::uint32_t, std::pair<std::vector<float>, steady_time>> early;  // outputs ahead of their turn
    std::uint32_t silences = 0;
    steady_time due{};       // when to send again
    steady_time progress{};  // of the last output, or the submission
  };
  using entries = std::map<std::string, entry>;

  void assign(entry& e, const std::string& avoid, steady_time now, request_effects& out);
  void send(entry& e, steady_time now, request_effects& out);
  void deliver(entry& e, std::vector<float> hidden, steady_time when, request_effects& out);
  void finish(entries::iterator at, std::optional<error> failure, request_effects& out);
  bool matches(const entry& e, std::uint32_t step, const std::vector<float>& hidden) const;

  book_options options_;
  entries requests_;
  std::set<std::string> open_, alive_;
  std::map<std::string, std::size_t> load_;  // requests at each front end
};

}  // namespace ballast
