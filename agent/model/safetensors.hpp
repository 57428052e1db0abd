// One safetensors file, mapped into memory: 8 bytes of header length, a JSON header, then the tensors, without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast {

struct tensor_entry {
  std::string dtype;  // as the file says: "BF16"
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;  // offsets into the data
};

// Nothing in the header is trusted: its length is limited, every tensor must lie inside the file, be as long as its
// dtype and shape say, overlap no other and leave no gap, and the last one must end where the file ends. Threads: const
// functions from any. Spans live as long as the object.
class safetensors_file {
 public:
  static constexpr std::uint64_t header_limit = 100'000'000;

  // Errors: not_found, io, malformed (a header that does not parse), corrupt (sizes and offsets that contradict each
  // other: truncated or damaged).
  static result<std::shared_ptr<const safetensors_file>> open(const std::string& path);
  ~safetensors_file();
  safetensors_file(const safetensors_file&) = delete;
  safetensors_file& operator=(const safetensors_file&) = delete;

  const std::string& path() const noexcept { return path_; }
  const std::map<std::string, tensor_entry, std::less<>>& tensors() const noexcept { return tensors_; }
  // Error: corrupt (the file became shorter since it was opened; reading it would end the process).
  result<std::span<const std::byte>> bytes(const tensor_entry& entry) const;

 private:
  safetensors_file() = default;
  status map(const std::string& path);
  status read_header();
  status check_cover() const;

  std::string path_;
  int file_ = -1;
  const std::byte* mapped_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t data_at_ = 0;
  std::map<std::string, tensor_entry, std::less<>> tensors_;
};

}  // namespace ballast
