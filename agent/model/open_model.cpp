#include "agent/model/checkpoint_model.hpp"
#include "agent/model/model_source.hpp"
#include "agent/model/seeded_model.hpp"

namespace ballast {

result<std::unique_ptr<model_source>> open_model(const model_spec& spec) {
  const std::string who = "model '" + spec.name + "': ";
  if (!spec.checkpoint.empty()) {
    auto opened = open_checkpoint_model(spec.name, spec.checkpoint, spec.max_layers);
    if (!opened) return fail(opened.error().code, who + opened.error().text);
    return opened;
  }
  gpu::moe_shape shape = spec.shape;
  if (spec.max_layers != 0 && spec.max_layers < shape.layers) shape.layers = spec.max_layers;
  if (auto ok = gpu::check(shape); !ok) return fail(ok.error().code, who + ok.error().text);
  return make_seeded_model(spec.name, spec.seed, shape);
}

}  // namespace ballast
