#include "agent/model/checkpoint_files.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

namespace ballast {
namespace {

constexpr const char* index_name = "model.safetensors.index.json";
constexpr const char* single_name = "model.safetensors";
constexpr std::uint64_t index_limit = 256u << 20;

std::optional<gpu::dtype> usable_dtype(const std::string& name) {
  if (name == "F32") return gpu::dtype::f32;
  if (name == "BF16") return gpu::dtype::bf16;
  if (name == "F16") return gpu::dtype::f16;
  if (name == "F8_E4M3") return gpu::dtype::f8_e4m3;
  return std::nullopt;
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

// A shard lies in the checkpoint's folder: its name must not lead out of it.
bool plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

}  // namespace

result<std::string> read_text_file(const std::string& path, std::uint64_t limit) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const bool absent = errno == ENOENT;
    return fail(absent ? errc::not_found : errc::io, path + ": " + std::strerror(errno));
  }
  std::string text;
  std::vector<char> chunk(1 << 16);
  while (in.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), in.gcount() > 0) {
    text.append(chunk.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > limit) {
      return fail(errc::malformed, path + ": longer than the limit of " + std::to_string(limit) + " bytes");
    }
  }
  if (in.bad()) return fail(errc::io, path + ": cannot be read: " + std::strerror(errno));
  return text;
}

result<checkpoint_files> checkpoint_files::open(const std::string& folder) {
  checkpoint_files files;
  files.folder_ = folder;
  const std::string index = folder + "/" + index_name;
  if (exists(index)) {
    files.listing_ = index;
    if (auto ok = files.read_index(index); !ok) return fail(ok.error());
    return files;
  }
  files.listing_ = folder + "/" + single_name;
  if (!exists(files.listing_)) {
    return fail(errc::not_found, folder + ": neither " + index_name + " nor " + single_name +
                                     " is there: 'checkpoint' must name a folder with a safetensors checkpoint");
  }
  auto file = files.shard(single_name);
  if (!file) return fail(file.error());
  for (const auto& [name, entry] : (*file)->tensors()) files.shard_of_.emplace(name, single_name);
  return files;
}

status checkpoint_files::read_index(const std::string& path) {
  const auto text = read_text_file(path, index_limit);
  if (!text) return fail(text.error());
  const auto index = nlohmann::json::parse(*text, nullptr, false);
  const std::string remedy = ": copy or download the whole checkpoint again";
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return fail(errc::malformed, path + ": not a JSON object with a 'weight_map'" + remedy);
  }
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string() || !plain_file_name(file.get<std::string>())) {
      return fail(errc::malformed, path + ": tensor " + name.substr(0, 200) + " has no plain file name" + remedy);
    }
    shard_of_.emplace(name, file.get<std::string>());
  }
  return {};
}

result<std::shared_ptr<const safetensors_file>> checkpoint_files::shard(const std::string& file_name) {
  if (const auto it = shards_.find(file_name); it != shards_.end()) return it->second;
  auto file = safetensors_file::open(folder_ + "/" + file_name);
  if (file) shards_.emplace(file_name, *file);
  return file;
}

std::vector<std::string> checkpoint_files::names() const {
  std::vector<std::string> all;
  for (const auto& [name, file] : shard_of_) all.push_back(name);
  return all;
}

result<stored_tensor> checkpoint_files::find(const std::string& name, std::uint32_t rows, std::uint32_t cols) {
  const auto listed = shard_of_.find(name);
  if (listed == shard_of_.end()) {
    return fail(errc::not_found,
                listing_ + ": tensor " + name + " is missing: copy or download the whole checkpoint again");
  }
  auto file = shard(listed->second);
  if (!file) return fail(file.error().code, file.error().text + " (needed for tensor " + name + ")");
  const auto it = (*file)->tensors().find(name);
  if (it == (*file)->tensors().end()) {
    return fail(errc::not_found, (*file)->path() + ": tensor " + name + " is missing, although " + listing_ +
                                     " says it is here: copy or download the whole checkpoint again");
  }
  const tensor_entry& entry = it->second;
  const bool fits = entry.shape == std::vector<std::uint64_t>{rows, cols} ||
                    (rows == 1 && entry.shape == std::vector<std::uint64_t>{cols});
  if (!fits) {
    return fail(errc::corrupt, (*file)->path() + ": tensor " + name + " has shape " + shape_text(entry.shape) +
                                   ", not [" + std::to_string(rows) + ", " + std::to_string(cols) +
                                   "]: config.json and the weights must come from the same checkpoint");
  }
  const auto type = usable_dtype(entry.dtype);
  if (!type) {
    return fail(errc::invalid_argument, (*file)->path() + ": tensor " + name + " has dtype " +
                                            entry.dtype.substr(0, 40) +
                                            ": use a checkpoint in BF16, F16, F32 or F8_E4M3");
  }
  return stored_tensor{*file, &entry, *type};
}

}  // namespace ballast
