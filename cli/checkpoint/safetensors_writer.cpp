#include "cli/checkpoint/safetensors_writer.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace ballast {
namespace {

using nlohmann::json;
using plan = std::span<const planned_tensor>;

constexpr const char* index_file = "/model.safetensors.index.json";

status cannot_write(const std::string& path) {
  return fail(errc::io, path + ": cannot be written: check the folder and the space left");
}

std::string shard_name(std::size_t number, std::size_t of) {
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", number, of);
  return text;
}

// Cuts the list into at most `shards` runs of about equal size.
std::vector<plan> cut(const std::vector<planned_tensor>& tensors, std::uint32_t shards) {
  std::uint64_t total = 0;
  for (const planned_tensor& tensor : tensors) total += tensor.bytes;
  const std::uint64_t each = total / std::max(1u, shards) + 1;
  std::vector<plan> runs;
  std::size_t first = 0;
  std::uint64_t held = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    held += tensors[i].bytes;
    if (held >= each || i + 1 == tensors.size()) {
      runs.push_back(plan(tensors).subspan(first, i + 1 - first));
      first = i + 1;
      held = 0;
    }
  }
  return runs;
}

std::string header_of(plan tensors) {
  json header{{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t at = 0;
  for (const planned_tensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {at, at + tensor.bytes}}};
    at += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors begin at a multiple of 8
  return text;
}

status write_shard(const std::string& path, plan tensors) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  const std::string header = header_of(tensors);
  for (unsigned i = 0; i < 8; ++i) out.put(static_cast<char>(header.size() >> (8 * i) & 0xff));
  out << header;
  std::vector<std::byte> bytes;
  for (const planned_tensor& tensor : tensors) {
    bytes.assign(tensor.bytes, std::byte{0});
    if (auto ok = tensor.fill(bytes); !ok) return ok;
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  out.flush();
  if (!out) return cannot_write(path);
  return {};
}

}  // namespace

status write_text_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text << std::flush;
  if (!out) return cannot_write(path);
  return {};
}

status write_safetensors(const std::string& folder, const std::vector<planned_tensor>& tensors, std::uint32_t shards) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) return cannot_write(folder);
  std::filesystem::remove(folder + index_file, problem);
  if (problem) return cannot_write(folder + index_file);
  const auto runs = cut(tensors, shards);
  json weight_map = json::object();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::string name = shard_name(i + 1, runs.size());
    if (auto ok = write_shard(folder + "/" + name, runs[i]); !ok) return ok;
    for (const planned_tensor& tensor : runs[i]) {
      weight_map[tensor.name] = name;
      total += tensor.bytes;
    }
  }
  const json index{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return write_text_file(folder + index_file, index.dump(1) + "\n");
}

}  // namespace ballast
