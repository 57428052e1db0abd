#include "cli/offline/cost_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace ballast::offline {

result<std::uint64_t> bundle_bytes(const bundle_options& options) {
  if (options.bytes != 0) return options.bytes;
  static const std::map<std::string, std::uint64_t> sizes = {{"f32", 4}, {"bf16", 2}, {"f16", 2}, {"f8_e4m3", 1}};
  const auto size = sizes.find(options.dtype);
  if (size == sizes.end()) {
    return fail(errc::invalid_argument,
                fmt::format("--dtype {}: choose one of f32, bf16, f16, f8_e4m3", options.dtype));
  }
  if (options.hidden == 0 || options.intermediate == 0) return std::uint64_t{0};
  constexpr std::uint64_t matrices = 3, block = 128, scale_bytes = 4;
  const auto cells = std::uint64_t{options.hidden} * options.intermediate;
  const auto blocks = ((options.hidden + block - 1) / block) * ((options.intermediate + block - 1) / block);
  return matrices * (cells * size->second + (size->second == 1 ? blocks * scale_bytes : 0));
}

interval_cost cost_of_interval(const cost_model& model, double steps, double par_old, double par_new,
                               double copy_seconds) {
  const double slow_ms = model.step_ms_at(par_old) * (1 + model.slowdown);
  const double fast_ms = model.step_ms_at(par_new);
  const double copying_steps = slow_ms > 0 ? std::min(steps, copy_seconds * 1e3 / slow_ms) : 0;
  const double total_ms = copying_steps * slow_ms + (steps - copying_steps) * fast_ms;
  interval_cost out;
  if (steps <= 0 || total_ms <= 0) return out;
  out.step_ms = total_ms / steps;
  out.copying = copying_steps * slow_ms / total_ms;
  return out;
}

}  // namespace ballast::offline
