// The tensors of a checkpoint folder, by name: one model.safetensors, or shards that model.safetensors.index.json
// lists.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/model/safetensors.hpp"
#include "gpu/model_shape.hpp"
#include "messages/result.hpp"

namespace ballast {

struct stored_tensor {
  std::shared_ptr<const safetensors_file> file;
  const tensor_entry* entry = nullptr;
  gpu::dtype type{};
  result<std::span<const std::byte>> bytes() const { return file->bytes(*entry); }
};

// Threads: one while looking tensors up (shards are opened when first needed); what it gave out may be used from any.
class checkpoint_files {
 public:
  // Errors: not_found (folder, index or file), malformed (index), io.
  static result<checkpoint_files> open(const std::string& folder);

  bool has(const std::string& name) const { return shard_of_.contains(name); }
  std::vector<std::string> names() const;
  // A tensor of the given shape ([rows][cols]; [cols] if rows is 1) in a format that kernels or the loader read.
  // Errors: not_found (tensor or its shard), corrupt (shape), invalid_argument (dtype), those of the shard.
  result<stored_tensor> find(const std::string& name, std::uint32_t rows, std::uint32_t cols);

 private:
  status read_index(const std::string& path);
  result<std::shared_ptr<const safetensors_file>> shard(const std::string& file_name);

  std::string folder_;
  std::string listing_;  // the file that says which tensors there are
  std::map<std::string, std::string> shard_of_;
  std::map<std::string, std::shared_ptr<const safetensors_file>> shards_;
};

// Whole text of a small file. Errors: not_found, io, malformed (longer than `limit`).
result<std::string> read_text_file(const std::string& path, std::uint64_t limit);

}  // namespace ballast
