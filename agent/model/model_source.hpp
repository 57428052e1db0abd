// Where a model's weights come from: a seed, or a safetensors checkpoint in a Hugging Face layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

class settings;

// A model of the deployment as its [[model]] table in the TOML file says (docs/CONFIG.md).
struct model_spec {
  std::string name;
  std::string checkpoint;    // folder with config.json and model-*.safetensors; empty: weights from `seed`
  std::uint64_t seed = 0;
  gpu::moe_shape shape;      // given for a seed; read from config.json for a checkpoint
  std::uint32_t max_layers = 0;  // use only the first MoE layers; 0: all
};
result<model_spec> read_model_spec(const settings& table);

// Threads: all functions const and safe from any thread. They read files and may take long: never call them from an
// actor's handler or the issuing thread.
class model_source {
 public:
  virtual ~model_source() = default;
  virtual const std::string& name() const noexcept = 0;
  virtual const gpu::moe_shape& shape() const noexcept = 0;
  virtual const std::string& fingerprint() const noexcept = 0;  // of shape and contents; equal sources agree on it
  // Dense weights of all layers in order, each dense_layout(shape).bytes long. Errors: corrupt, io.
  virtual result<std::vector<std::byte>> dense() const = 0;
  // The bundle of one expert, expert_layout(shape).bytes long. Errors: corrupt, io.
  virtual status bundle(std::uint32_t layer, std::uint32_t expert, std::span<std::byte> out) const = 0;
  // The same in pieces, in order and without gaps, for whoever copies it on: where they lie already, or in `room`, a
  // thread's own from one bundle to the next, so that memory is asked for and cleared once. What `take` fails with ends
  // it and is answered.
  using piece_taker = std::function<status(std::size_t offset, std::span<const std::byte> piece)>;
  virtual status pieces(std::uint32_t layer, std::uint32_t expert, std::vector<std::byte>& room,
                        const piece_taker& take) const {
    room.resize(gpu::expert_layout(shape()).bytes);
    if (auto ok = bundle(layer, expert, room); !ok) return ok;
    return take(0, room);
  }
};

// Checks at once that every tensor that the kernel reads is there, in the right shape, with its scales: an incomplete
// checkpoint is refused here, naming the tensor. Errors: malformed, not_found, corrupt, io.
result<std::unique_ptr<model_source>> open_model(const model_spec& spec);

}  // namespace ballast
