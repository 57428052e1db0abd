#include "cli/checkpoint/topic_model.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/model/checkpoint_files.hpp"
#include "agent/model/random_weights.hpp"
#include "cli/checkpoint/vectors.hpp"

namespace ballast {
namespace {

using nlohmann::json;

constexpr const char* file_name = "/topics.json";
constexpr const char* format_name = "ballast-topics";
constexpr std::uint64_t size_limit = 64u << 20;

// Random streams; the numbers are part of what a seed means.
constexpr std::uint32_t direction_stream = 101, token_stream = 102;

status check(const topic_traffic& traffic, const std::string& where) {
  const std::string remedy = ": write the checkpoint again";
  if (traffic.topics == 0 || traffic.hidden > 65536 || traffic.topics >= traffic.hidden) {
    return fail(errc::invalid_argument, where + ": topics must be between 1 and hidden - 1" + remedy);
  }
  if (!(traffic.signal > 0 && traffic.signal < 1)) {
    return fail(errc::invalid_argument, where + ": signal must be between 0 and 1" + remedy);
  }
  if (traffic.mix.empty()) return fail(errc::invalid_argument, where + ": mix has no rows" + remedy);
  for (const auto& row : traffic.mix) {
    double sum = 0;
    bool sound = row.size() == traffic.topics;
    for (const double weight : row) {
      sound = sound && weight >= 0;
      sum += weight;
    }
    if (!sound || !(std::fabs(sum - 1) < 1e-6)) {
      return fail(errc::invalid_argument, where + ": a row of mix is not a distribution over the topics" + remedy);
    }
  }
  return {};
}

topic_traffic from_json(const json& object) {
  topic_traffic traffic;
  traffic.topics = object.at("topics").get<std::uint32_t>();
  traffic.hidden = object.at("hidden").get<std::uint32_t>();
  traffic.seed = object.at("seed").get<std::uint64_t>();
  traffic.signal = object.at("signal").get<double>();
  traffic.recording = object.at("recording").get<std::string>();
  traffic.mix = object.at("mix").get<std::vector<std::vector<double>>>();
  return traffic;
}

std::uint32_t topic_of_mix(const std::vector<double>& mix, double at) {
  for (std::uint32_t t = 0; t + 1 < mix.size(); ++t) {
    if (at < mix[t]) return t;
    at -= mix[t];
  }
  return static_cast<std::uint32_t>(mix.size() - 1);
}

}  // namespace

status save_topics(const topic_traffic& traffic, const std::string& folder) {
  const std::string path = folder + file_name;
  if (auto ok = check(traffic, path); !ok) return ok;
  const json object{{"format", format_name},          {"version", 1},         {"topics", traffic.topics},
                    {"hidden", traffic.hidden},       {"seed", traffic.seed}, {"signal", traffic.signal},
                    {"recording", traffic.recording}, {"mix", traffic.mix}};
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << object.dump(1) << '\n' << std::flush;
  if (!out) return fail(errc::io, path + ": cannot be written: check the folder and the space left");
  return {};
}

result<topic_traffic> load_topics(const std::string& folder) {
  const std::string path = folder + file_name;
  const auto text = read_text_file(path, size_limit);
  if (!text) {
    return fail(text.error().code, text.error().text + ": only a checkpoint written from recorded loads has topics");
  }
  const std::string remedy = ": write the checkpoint again";
  try {
    const json object = json::parse(*text);
    if (object.at("format") != format_name || object.at("version") != 1) {
      return fail(errc::version_mismatch, path + ": not a version 1 " + format_name + " file" + remedy);
    }
    topic_traffic traffic = from_json(object);
    if (auto ok = check(traffic, path); !ok) return fail(errc::malformed, ok.error().text);
    return traffic;
  } catch (const json::exception& problem) {
    return fail(errc::malformed, path + ": " + problem.what() + remedy);
  }
}

std::vector<double> topic_mix(const topic_traffic& traffic, double position) {
  const double last = static_cast<double>(traffic.mix.size() - 1);
  const double at = std::clamp(position, 0.0, 1.0) * last;
  const auto below = static_cast<std::size_t>(at);
  const auto above = std::min(below + 1, traffic.mix.size() - 1);
  const double part = at - static_cast<double>(below);
  std::vector<double> mix(traffic.topics);
  for (std::uint32_t t = 0; t < traffic.topics; ++t) {
    mix[t] = (1 - part) * traffic.mix[below][t] + part * traffic.mix[above][t];
  }
  return mix;
}

std::vector<std::vector<double>> topic_directions(std::uint64_t seed, std::uint32_t topics, std::uint32_t hidden) {
  std::vector<std::vector<double>> directions;
  for (std::uint32_t t = 0; t < topics; ++t) {
    directions.push_back(random_direction(random_values(seed, {direction_stream, 0, t}), 0, hidden, directions));
  }
  return directions;
}

topic_inputs::topic_inputs(topic_traffic traffic)
    : traffic_(std::move(traffic)), directions_(topic_directions(traffic_.seed, traffic_.topics, traffic_.hidden)) {}

std::uint32_t topic_inputs::topic_of(double position, std::uint64_t request) const {
  // Multiples of the golden ratio, modulo 1, fill the unit interval evenly.
  const std::uint64_t spread = request * 0x9e3779b97f4a7c15ULL;
  return topic_of_mix(topic_mix(traffic_, position), static_cast<double>(spread >> 11) * 0x1p-53);
}

std::vector<float> topic_inputs::hidden(std::uint64_t client_seed, std::uint64_t request, std::uint32_t topic,
                                        std::uint32_t tokens) const {
  const std::uint32_t width = traffic_.hidden;
  const random_values values(client_seed, {token_stream, 0, request});
  const double size = std::sqrt(static_cast<double>(width));
  const double noise = std::sqrt(1 - traffic_.signal * traffic_.signal);
  std::vector<float> out;
  out.reserve(std::size_t{tokens} * width);
  for (std::uint32_t token = 0; token < tokens; ++token) {
    const auto own = random_direction(values, std::uint64_t{token} * width, width, directions_);
    for (std::uint32_t i = 0; i < width; ++i) {
      out.push_back(static_cast<float>(size * (traffic_.signal * directions_[topic][i] + noise * own[i])));
    }
  }
  return out;
}

}  // namespace ballast
