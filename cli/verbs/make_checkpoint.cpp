#include "cli/verbs/make_checkpoint.hpp"

#include <fmt/core.h>

#include <filesystem>
#include <map>
#include <optional>
#include <ostream>

#include "cli/checkpoint/checkpoint_writer.hpp"
#include "cli/render/render.hpp"

namespace ballast {
namespace {

template <class T>
result<T> choose(const std::map<std::string, T>& known, const std::string& flag, const std::string& given) {
  if (const auto at = known.find(given); at != known.end()) return at->second;
  std::string names;
  for (const auto& [name, value] : known) names += (names.empty() ? "" : ", ") + name;
  return fail(errc::invalid_argument, fmt::format("{} {}: choose one of {}", flag, given, names));
}

const std::map<std::string, hf_layout> layouts = {
    {"qwen3", hf_layout::qwen3_moe}, {"mixtral", hf_layout::mixtral}, {"deepseek", hf_layout::deepseek_v3}};
const std::map<std::string, gpu::dtype> dtypes = {
    {"f32", gpu::dtype::f32}, {"bf16", gpu::dtype::bf16}, {"f16", gpu::dtype::f16}, {"f8_e4m3", gpu::dtype::f8_e4m3}};

std::uint64_t folder_bytes(const std::string& folder) {
  std::uint64_t sum = 0;
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(folder, ignored)) sum += file.file_size(ignored);
  return sum;
}

}  // namespace

gpu::moe_shape default_shape() {
  gpu::moe_shape shape;
  shape.layers = 8;
  shape.experts = 128;
  shape.top_k = 8;
  shape.hidden = 64;
  shape.intermediate = 32;
  return shape;
}

status verbs::make_checkpoint(const checkpoint_options& options, bool as_json, std::ostream& out) {
  const auto layout = choose(layouts, "--layout", options.layout);
  if (!layout) return fail(layout.error());
  const auto dtype = choose(dtypes, "--dtype", options.dtype);
  if (!dtype) return fail(dtype.error());
  gpu::moe_shape shape = options.shape;
  shape.expert_type = *dtype;
  if (*layout == hf_layout::deepseek_v3) {  // what the layout fixes
    shape.score = gpu::scoring::sigmoid;
    shape.router_bias = true;
  }
  std::optional<topic_source> topics;
  if (!options.loads.empty()) topics = topic_source{options.loads, options.topics};
  if (auto made = write_checkpoint(options.out, *layout, shape, options.seed, topics, options.shards); !made)
    return made;
  const auto size = folder_bytes(options.out);
  if (as_json) {
    out << fmt::format("{{\"folder\":{},\"layers\":{},\"experts\":{},\"bytes\":{},\"topics\":{}}}\n",
                       json::quoted(options.out), shape.layers, shape.experts, size, topics ? options.topics : 0);
  } else {
    out << fmt::format("{}: {} layers of {} experts, {}{}\n", options.out, shape.layers, shape.experts,
                       text::bytes(size), topics ? fmt::format(", routers follow {}", options.loads) : "");
  }
  return {};
}

}  // namespace ballast
