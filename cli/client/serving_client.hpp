// Sends many requests at once to the deployment and follows them until they are answered: learns the active seats'
// front ends from the coordinator, spreads requests over them, streams outputs, and never loses one (request_book.hpp
// says how).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "cli/client/request_book.hpp"
#include "messages/link.hpp"
#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

struct serving_options {
  std::string coordinator;  // control gateway; of several that may lead: with commas between
  std::string events;       // its event publisher; empty: asks once in `status_interval`
  std::string name = "client";
  book_options book{};
  std::size_t max_running = 4096;  // requests at once; submit() refuses more
  std::chrono::milliseconds status_interval{1000};
  std::chrono::milliseconds search_interval{100};  // while requests wait for a front end
};

struct serving_counters {
  std::uint64_t submitted = 0, answered = 0, failed = 0;
  std::uint64_t sends = 0, moves = 0, duplicates = 0;
  std::uint64_t overflows = 0;  // messages dropped because the inbox was full; their requests are sent again
};

class serving_client {
 public:
  // Both are called on the client's thread, one at a time; they must not block, and may call submit().
  using done_handler = std::function<void(request_record)>;
  using output_handler =
      std::function<void(const std::string& id, std::uint32_t step, const std::vector<float>& hidden)>;

  // `context` must outlive the client. Errors: those of opening links. Whether anybody is there shows only later.
  static result<std::unique_ptr<serving_client>> connect(link_context& context, serving_options options,
                                                         done_handler on_done, output_handler on_output = {});
  ~serving_client();  // requests still running end without on_done
  serving_client(const serving_client&) = delete;
  serving_client& operator=(const serving_client&) = delete;

  // Any thread. Ids must differ among running requests. Errors: invalid_argument; does_not_fit (max_running).
  status submit(inference_request request);
  // Waits until no request is running and the caller was told of every end. Error: timed_out, with how many still run. Not from a handler.
  status wait_idle(std::chrono::milliseconds deadline);
  // Waits until `seats` seats are active, as the coordinator tells.
  status wait_active(std::size_t seats, std::chrono::milliseconds deadline);

  std::size_t running() const;
  serving_counters counters() const;

 private:
  struct impl;
  explicit serving_client(std::unique_ptr<impl> made);
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast
