// The routers' side of topics (topic_model.hpp): router rows whose choices follow recorded loads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/checkpoint/topic_model.hpp"
#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

struct topic_source {
  std::string recording;      // file of recorded loads (policies/formats/load_records.hpp)
  std::uint32_t topics = 32;  // recorded intervals, spread over the recording; at most as many as it has
};

struct topic_routers {
  topic_traffic traffic;
  std::vector<std::vector<float>> rows;  // [layer][expert * hidden + i]: the router, for norm weights of 1
};

// Errors: those of reading the recording; does_not_fit (fewer layers than the shape, another number of experts, topics
// and hidden that do not go together).
result<topic_routers> make_topic_routers(const topic_source& source, const gpu::moe_shape& shape, std::uint64_t seed);

// Chances, one an expert, that sum to k, are at most `most`, and are otherwise in proportion to `loads`.
std::vector<double> chances_of(const std::vector<double>& loads, std::uint32_t k, double most);

}  // namespace ballast
