#include "agent/model/model_source.hpp"
#include "agent/model/seeded_model.hpp"

namespace ballast {

result<std::unique_ptr<model_source>> open_model(const model_spec& spec) {
  gpu::moe_shape shape = spec.shape;
  if (spec.max_layers != 0 && spec.max_layers < shape.layers) shape.layers = spec.max_layers;
  if (auto ok = gpu::check(shape); !ok) {
    return fail(ok.error().code, "model '" + spec.name + "': " + ok.error().text);
  }
  return make_seeded_model(spec.name, spec.seed, shape);
}

}  // namespace ballast
