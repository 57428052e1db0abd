#include "cli/checkpoint/topic_routers.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "agent/model/random_weights.hpp"
#include "cli/checkpoint/vectors.hpp"
#include "policies/formats/load_records.hpp"

namespace ballast {
namespace {

constexpr std::uint32_t expert_stream = 103;  // part of what a seed means
constexpr double most_likely = 0.97, least_likely = 1e-4;

// x such that a standard normal number is below it with probability p.
double normal_quantile(double p) {
  double low = -8, high = 8;
  for (int i = 0; i < 50; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

struct topic_span {
  std::size_t first = 0, count = 0;  // records
  double middle() const { return static_cast<double>(first) + (static_cast<double>(count) - 1) / 2; }
};

// `topics` of the recording's intervals, spread evenly from the first to the last.
std::vector<topic_span> choose_spans(const policies::load_recording& recording, std::uint32_t topics) {
  const std::size_t length = std::clamp<std::size_t>(recording.meta.steps_per_interval, 1, recording.records.size());
  const std::size_t intervals = recording.records.size() / length;
  const std::size_t count = std::min<std::size_t>(topics, intervals);
  std::vector<topic_span> spans;
  for (std::size_t t = 0; t < count; ++t) {
    const std::size_t interval = count == 1 ? intervals / 2 : t * (intervals - 1) / (count - 1);
    spans.push_back({interval * length, length});
  }
  return spans;
}

// Between the middles of two topics' intervals the traffic goes over from one to the other.
std::vector<std::vector<double>> mix_over_recording(const std::vector<topic_span>& spans, std::size_t steps) {
  std::vector<std::vector<double>> mix(steps, std::vector<double>(spans.size(), 0.0));
  for (std::size_t step = 0; step < steps; ++step) {
    const auto at = static_cast<double>(step);
    std::size_t next = 0;
    while (next < spans.size() && spans[next].middle() < at) ++next;
    if (next == 0 || next == spans.size()) {
      mix[step][next == 0 ? 0 : next - 1] = 1;
      continue;
    }
    const double from = spans[next - 1].middle(), to = spans[next].middle();
    const double part = (at - from) / (to - from);
    mix[step][next - 1] = 1 - part;
    mix[step][next] = part;
  }
  return mix;
}

std::vector<double> loads_in(const policies::load_recording& recording, const topic_span& span, std::uint32_t layer) {
  std::vector<double> loads(recording.records[span.first].tokens[layer].size(), 0.0);
  for (std::size_t i = span.first; i < span.first + span.count; ++i) {
    for (std::size_t e = 0; e < loads.size(); ++e) loads[e] += recording.records[i].tokens[layer][e];
  }
  return loads;
}

// How far above the others' noise each expert must stand to be chosen as often as recorded: [topic][expert].
std::vector<std::vector<double>> preferences(const policies::load_recording& recording,
                                             const std::vector<topic_span>& spans, std::uint32_t layer,
                                             std::uint32_t top_k) {
  std::vector<std::vector<double>> all;
  for (const topic_span& span : spans) {
    std::vector<double> row;
    for (const double chance : chances_of(loads_in(recording, span, layer), top_k, most_likely)) {
      row.push_back(normal_quantile(std::max(chance, least_likely)));
    }
    // A common offset of all experts chooses nothing: without it, rows are shorter and rounding hurts less.
    double mean = 0;
    for (const double value : row) mean += value / static_cast<double>(row.size());
    for (double& value : row) value -= mean;
    all.push_back(std::move(row));
  }
  return all;
}

status check_source(const topic_source& source, const policies::load_recording& recording,
                    const gpu::moe_shape& shape) {
  const auto layers = recording.records.front().tokens.size();
  const auto experts = recording.records.front().tokens.front().size();
  const std::string made = std::to_string(layers) + " layers of " + std::to_string(experts) + " experts";
  if (layers < shape.layers || experts != shape.experts) {
    return fail(errc::does_not_fit, source.recording + ": recorded " + made + ", the model has " +
                                        std::to_string(shape.layers) + " layers of " + std::to_string(shape.experts) +
                                        ": ask for a shape that the recording covers");
  }
  return {};
}

}  // namespace

std::vector<double> chances_of(const std::vector<double>& loads, std::uint32_t k, double most) {
  std::vector<double> chances(loads.size(), 0.0);
  std::vector<bool> full(loads.size(), false);
  const double wanted = std::min<double>(k, most * static_cast<double>(loads.size()));
  for (bool again = true; again;) {
    again = false;
    double free_load = 0, free_chance = wanted;
    std::size_t free_count = 0;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      if (full[e]) {
        free_chance -= most;
      } else {
        free_load += loads[e];
        ++free_count;
      }
    }
    for (std::size_t e = 0; e < loads.size(); ++e) {
      if (full[e]) continue;
      chances[e] = free_load > 0 ? free_chance * loads[e] / free_load : free_chance / static_cast<double>(free_count);
      if (chances[e] > most) {
        chances[e] = most;
        full[e] = again = true;
      }
    }
  }
  return chances;
}

result<topic_routers> make_topic_routers(const topic_source& source, const gpu::moe_shape& shape, std::uint64_t seed) {
  const auto recording = policies::read_load_records(source.recording, {.max_layers = shape.layers});
  if (!recording) return fail(recording.error());
  if (auto ok = check_source(source, *recording, shape); !ok) return fail(ok.error());
  const auto spans = choose_spans(*recording, source.topics);
  if (spans.empty() || spans.size() > shape.hidden / 2) {
    return fail(errc::does_not_fit, "topics must be between 1 and half of hidden (" + std::to_string(shape.hidden) +
                                        "), not " + std::to_string(spans.size()));
  }
  topic_routers made;
  made.traffic.topics = static_cast<std::uint32_t>(spans.size());
  made.traffic.hidden = shape.hidden;
  made.traffic.seed = seed;
  made.traffic.recording = recording->meta.model;
  made.traffic.mix = mix_over_recording(spans, recording->records.size());
  const auto directions = topic_directions(seed, made.traffic.topics, shape.hidden);
  // Scaled so that a token's logit is its expert's preference plus a normal number of deviation 1.
  const double size = std::sqrt(static_cast<double>(shape.hidden));
  const double along = 1 / (size * made.traffic.signal);
  const double across = std::sqrt(static_cast<double>(shape.hidden - made.traffic.topics)) /
                        (size * std::sqrt(1 - made.traffic.signal * made.traffic.signal));
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const auto preference = preferences(*recording, spans, layer, shape.top_k);
    std::vector<float> rows;
    rows.reserve(std::size_t{shape.experts} * shape.hidden);
    for (std::uint32_t e = 0; e < shape.experts; ++e) {
      auto row = random_direction(random_values(seed, {expert_stream, layer, e}), 0, shape.hidden, directions);
      for (double& value : row) value *= across;
      for (std::size_t t = 0; t < directions.size(); ++t) {
        for (std::uint32_t i = 0; i < shape.hidden; ++i) row[i] += along * preference[t][e] * directions[t][i];
      }
      for (const double value : row) rows.push_back(static_cast<float>(value));
    }
    made.rows.push_back(std::move(rows));
  }
  return made;
}

}  // namespace ballast
