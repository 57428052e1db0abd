#include <fmt/format.h>
#include <xxhash.h>

#include <bit>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "coordinator/row_layers_impl.hpp"

namespace ballast::cluster {

std::string name_of(const layer_placement& layer) {
  std::vector<std::uint64_t> words;
  for (const auto& replicas : layer) {
    words.push_back(replicas.size());
    for (const auto& r : replicas) {
      words.push_back(std::uint64_t{index_of(r.seat)} << 32 | r.slot);
      words.push_back(std::bit_cast<std::uint64_t>(r.share));
    }
  }
  const auto sum = XXH3_128bits(words.data(), words.size() * sizeof(std::uint64_t));
  return fmt::format("{:016x}{:016x}", sum.high64, sum.low64);
}

// Written by hand: there are tens of thousands of replicas, and a tree of JSON for them costs more than all else.
std::string text_of(const layer_placement& layer) {
  std::string out = "[";
  const char* between = "";
  for (const auto& replicas : layer) {
    out += std::exchange(between, ",");
    out += '[';
    const char* next = "";
    for (const auto& r : replicas)
      fmt::format_to(std::back_inserter(out), "{}[{},{},{}]", std::exchange(next, ","), index_of(r.seat), r.slot,
                     r.share);
    out += ']';
  }
  return out += ']';
}

layer_placement layer_from(const std::string& text) {
  layer_placement out;
  for (const auto& expert : nlohmann::json::parse(text)) {
    auto& replicas = out.emplace_back();
    for (const auto& r : expert)
      replicas.push_back({seat_id{r.at(0).get<std::uint32_t>()}, r.at(1).get<std::uint32_t>(), r.at(2).get<double>()});
  }
  return out;
}

}  // namespace ballast::cluster
