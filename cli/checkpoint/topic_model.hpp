// Traffic whose expert loads follow a recording: requests carry topics, the routers of the checkpoint prefer experts by
// topic, and the mix of topics follows the recording. Loads come from the inputs alone, never from a clock.
//
// A topic is one recorded interval. A token of topic t is sqrt(hidden) * (a u_t + b n): u_t are orthonormal directions,
// n is a direction of its own for each token, a^2 + b^2 = 1. See docs/MODELS.md for the routers' side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast {

// What a client must know, without the model: topics.json in the checkpoint's folder.
struct topic_traffic {
  std::uint32_t topics = 0;
  std::uint32_t hidden = 0;              // topics < hidden
  std::uint64_t seed = 0;                // of the directions u_t
  double signal = 0.70710678;            // a
  std::string recording;                 // name of what was recorded
  std::vector<std::vector<double>> mix;  // [recorded step][topic], >= 0, rows sum to 1
  bool operator==(const topic_traffic&) const = default;
};

status save_topics(const topic_traffic& traffic, const std::string& folder);  // Errors: io, invalid_argument
result<topic_traffic> load_topics(const std::string& folder);                 // Errors: not_found, io, malformed

// Weights over topics at a position in the recording: 0 is its first step, 1 its last. Clamped; sums to 1.
std::vector<double> topic_mix(const topic_traffic& traffic, double position);

// Makes requests. Threads: immutable; const functions from any.
class topic_inputs {
 public:
  explicit topic_inputs(topic_traffic traffic);  // a traffic that save_topics or load_topics accepted
  const topic_traffic& traffic() const noexcept { return traffic_; }

  // The topic of the request-th request when the traffic stands at `position`. Any run of neighbouring requests is
  // divided over the topics nearly as the mix says.
  std::uint32_t topic_of(double position, std::uint64_t request) const;
  // Hidden states [tokens][hidden] of one request, root mean square 1. A function of the arguments alone.
  std::vector<float> hidden(std::uint64_t client_seed, std::uint64_t request, std::uint32_t topic,
                            std::uint32_t tokens) const;

 private:
  topic_traffic traffic_;
  std::vector<std::vector<double>> directions_;  // u_t
};

// u_t for the seed: [topics][hidden], orthonormal.
std::vector<std::vector<double>> topic_directions(std::uint64_t seed, std::uint32_t topics, std::uint32_t hidden);

}  // namespace ballast
