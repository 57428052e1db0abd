#include "gpu/host/reference.hpp"

#include <fmt/core.h>

#include <vector>

#include "gpu/host/layer.hpp"

namespace ballast::gpu::host {
namespace {

status check_sizes(const layer_math& math, std::span<const std::byte> dense, std::span<float> hidden,
                   std::uint32_t tokens) {
  const auto& shape = math.shape();
  if (dense.size() != math.dense_bytes() * shape.layers)
    return fail(errc::invalid_argument, fmt::format("reference: {} bytes of dense weights, {} layers take {}",
                                                    dense.size(), shape.layers, math.dense_bytes() * shape.layers));
  if (hidden.size() != std::size_t{tokens} * shape.hidden)
    return fail(errc::invalid_argument,
                fmt::format("reference: {} hidden values for {} tokens of {}", hidden.size(), tokens, shape.hidden));
  return {};
}

}  // namespace

status reference_forward(const moe_shape& shape, std::span<const std::byte> dense, const bundle_reader& fetch,
                         std::span<float> hidden, std::uint32_t tokens) {
  if (auto ok = check(shape); !ok) return ok;
  const layer_math math(shape);
  if (auto ok = check_sizes(math, dense, hidden, tokens); !ok) return ok;
  layer_math::workspace work;
  const std::size_t width = shape.hidden;
  std::vector<float> normed(width), shared(width), expert_out(shape.top_k * width);
  std::vector<choice> chosen(shape.top_k);
  std::vector<const float*> outs(shape.top_k);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const auto* weights = dense.data() + layer * math.dense_bytes();
    for (std::size_t t = 0; t < tokens; ++t) {
      auto* token = hidden.data() + t * width;
      math.norm(weights, token, 1, normed.data());
      math.route(weights, normed.data(), 1, chosen.data(), work);
      for (std::size_t k = 0; k < chosen.size(); ++k) {
        const auto bundle = fetch(layer, chosen[k].expert);
        if (!bundle) return fail(bundle.error());
        if (bundle->size() != math.bundle_bytes())
          return fail(errc::invalid_argument, fmt::format("reference: layer {} expert {} has {} bytes, not {}", layer,
                                                          chosen[k].expert, bundle->size(), math.bundle_bytes()));
        math.run_expert(bundle->data(), normed.data(), 1, expert_out.data() + k * width, work);
        outs[k] = expert_out.data() + k * width;
      }
      math.run_shared(weights, normed.data(), 1, shared.data(), work);
      math.combine(token, chosen.data(), outs.data(), shape.shared_intermediate != 0 ? shared.data() : nullptr);
    }
  }
  return {};
}

}  // namespace ballast::gpu::host
