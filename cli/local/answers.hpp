// Answers of a deployment, and what one static rank computes for the same requests.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/model/model_source.hpp"
#include "cli/client/request_book.hpp"
#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

// An answer in little room: its last output, and a digest of every step's.
struct kept_answer {
  std::uint64_t number = 0;  // of the request
  std::vector<std::uint64_t> digests;
  std::vector<float> last;
};

struct comparison {
  std::uint64_t compared = 0, different = 0;
  std::string first_difference;  // for people; empty if there is none
};

using request_maker = std::function<inference_request(std::uint64_t number)>;  // any thread

// Computes every request again, on `threads` threads and without any placement, and compares all steps.
// Errors: those of opening and reading the model.
result<comparison> compare_answers(const model_spec& model, const request_maker& make,
                                   const std::vector<kept_answer>& answers, std::uint32_t threads);

}  // namespace ballast
