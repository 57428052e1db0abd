// Small checkpoints in a folder of their own, and ways to damage them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "agent/model/model_source.hpp"
#include "cli/checkpoint/checkpoint_writer.hpp"

namespace ballast::test {

class temporary_folder {
 public:
  temporary_folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ballast-model-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes << std::flush;
  ASSERT_TRUE(out.good()) << path;
}

inline std::string with_header(const std::string& header, const std::string& data) {
  std::string bytes;
  for (unsigned i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + data;
}

inline std::pair<nlohmann::json, std::string> split_safetensors(const std::string& bytes) {
  std::uint64_t length = 0;
  for (unsigned i = 0; i < 8; ++i) length |= std::uint64_t{static_cast<unsigned char>(bytes.at(i))} << (8 * i);
  return {nlohmann::json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
}

inline void edit_header(const std::string& path, const std::function<void(nlohmann::json&)>& edit) {
  auto [header, data] = split_safetensors(read_bytes(path));
  edit(header);
  write_bytes(path, with_header(header.dump(), data));
}

inline void edit_json(const std::string& path, const std::function<void(nlohmann::json&)>& edit) {
  auto object = nlohmann::json::parse(read_bytes(path));
  edit(object);
  write_bytes(path, object.dump());
}

inline constexpr const char* index_file = "model.safetensors.index.json";

// Extents that are no multiple of the scale block, so that ragged blocks are tried too.
inline gpu::moe_shape small_shape(hf_layout layout, gpu::dtype type) {
  gpu::moe_shape shape;
  shape.layers = 2;
  shape.experts = 6;
  shape.top_k = 2;
  shape.hidden = 40;
  shape.intermediate = 24;
  shape.expert_type = type;
  if (type == gpu::dtype::f8_e4m3) shape.scale_block = 16;
  if (layout == hf_layout::deepseek_v3) {
    shape.shared_intermediate = 48;
    shape.groups = 3;
    shape.top_groups = 2;
    shape.score = gpu::scoring::sigmoid;
    shape.router_bias = true;
    shape.routed_scale = 2.5f;
  }
  return shape;
}

inline result<std::unique_ptr<model_source>> open_folder(const std::string& folder, std::uint32_t max_layers = 0) {
  model_spec spec;
  spec.name = "tried";
  spec.checkpoint = folder;
  spec.max_layers = max_layers;
  return open_model(spec);
}

}  // namespace ballast::test
