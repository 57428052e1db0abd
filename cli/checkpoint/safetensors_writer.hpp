// Writes tensors into numbered safetensors shards and their index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast {

struct planned_tensor {
  std::string name;
  std::string dtype;  // as in the file: "BF16"
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes = 0;
  std::function<status(std::span<std::byte>)> fill;  // called once, in order
};

// model-00001-of-0000N.safetensors …, each with tensors of about the same size in all, and
// model.safetensors.index.json. The index is removed first and written last, so that an unfinished checkpoint is never
// taken for a whole one. Errors: io, those of `fill`.
status write_safetensors(const std::string& folder, const std::vector<planned_tensor>& tensors, std::uint32_t shards);

status write_text_file(const std::string& path, const std::string& text);

}  // namespace ballast
