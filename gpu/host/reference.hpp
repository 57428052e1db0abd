// One rank, no placement, no sockets: what every distributed answer must equal bit for bit.
#pragma once

#include <functional>
#include <span>

#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast::gpu::host {

// The bundle of (layer, expert), valid until the next call.
using bundle_reader = std::function<result<std::span<const std::byte>>(std::uint32_t layer, std::uint32_t expert)>;

// One step of all layers over hidden[tokens][shape.hidden], in place. dense: all layers in order, each
// dense_layout(shape).bytes long. Errors: invalid_argument (sizes), those of `fetch`.
status reference_forward(const moe_shape& shape, std::span<const std::byte> dense, const bundle_reader& fetch,
                         std::span<float> hidden, std::uint32_t tokens);

}  // namespace ballast::gpu::host
