#include "agent/model/safetensors.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

namespace ballast {
namespace {

using nlohmann::json;

constexpr const char* fetch_again = ": the file is truncated or damaged, copy or download it again";

// Bits of one element; none for a dtype this program has never heard of (it may be in the file, but cannot be used).
std::optional<std::uint64_t> bits_of(const std::string& dtype) {
  static const std::map<std::string, std::uint64_t, std::less<>> known{
      {"F4", 4},      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8},
      {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},
      {"U32", 32},    {"F32", 32}, {"I64", 64}, {"U64", 64}, {"F64", 64},    {"C64", 64}};
  const auto it = known.find(dtype);
  if (it == known.end()) return std::nullopt;
  return it->second;
}

bool read_unsigned_list(const json& value, std::vector<std::uint64_t>& out) {
  if (!value.is_array() || value.size() > 16) return false;
  for (const json& entry : value) {
    if (!entry.is_number_unsigned()) return false;
    out.push_back(entry.get<std::uint64_t>());
  }
  return true;
}

std::optional<tensor_entry> read_entry(const json& value) {
  if (!value.is_object()) return std::nullopt;
  const auto dtype = value.find("dtype");
  const auto shape = value.find("shape");
  const auto offsets = value.find("data_offsets");
  if (dtype == value.end() || shape == value.end() || offsets == value.end() || !dtype->is_string())
    return std::nullopt;
  tensor_entry entry;
  entry.dtype = dtype->get<std::string>();
  std::vector<std::uint64_t> range;
  if (!read_unsigned_list(*shape, entry.shape) || !read_unsigned_list(*offsets, range) || range.size() != 2) {
    return std::nullopt;
  }
  entry.begin = range[0];
  entry.end = range[1];
  return entry;
}

// Is the entry as long as its dtype and shape say? Products that overflow cannot be right.
bool length_fits(const tensor_entry& entry) {
  const auto bits = bits_of(entry.dtype);
  if (!bits) return true;
  std::uint64_t total = *bits;
  for (const std::uint64_t extent : entry.shape) {
    if (__builtin_mul_overflow(total, extent, &total)) return false;
  }
  return total % 8 == 0 && total / 8 == entry.end - entry.begin;
}

}  // namespace

result<std::shared_ptr<const safetensors_file>> safetensors_file::open(const std::string& path) {
  std::shared_ptr<safetensors_file> file(new safetensors_file);
  if (auto ok = file->map(path); !ok) return fail(ok.error());
  if (auto ok = file->read_header(); !ok) return fail(ok.error());
  if (auto ok = file->check_cover(); !ok) return fail(ok.error());
  return file;
}

safetensors_file::~safetensors_file() {
  if (mapped_ != nullptr) ::munmap(const_cast<std::byte*>(mapped_), size_);
  if (file_ >= 0) ::close(file_);
}

status safetensors_file::map(const std::string& path) {
  path_ = path;
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ < 0) {
    const bool absent = errno == ENOENT;
    return fail(absent ? errc::not_found : errc::io,
                path + ": " + std::strerror(errno) + (absent ? ": copy or download the whole checkpoint" : ""));
  }
  struct stat info {};
  if (::fstat(file_, &info) != 0) return fail(errc::io, path + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return fail(errc::io, path + ": not a file");
  size_ = static_cast<std::uint64_t>(info.st_size);
  if (size_ < 8) return fail(errc::corrupt, path + ": only " + std::to_string(size_) + " bytes" + fetch_again);
  void* const at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_, 0);
  if (at == MAP_FAILED) return fail(errc::io, path + ": cannot be mapped: " + std::strerror(errno));
  mapped_ = static_cast<const std::byte*>(at);
  return {};
}

status safetensors_file::read_header() {
  std::uint64_t length = 0;
  for (unsigned i = 0; i < 8; ++i) length |= std::to_integer<std::uint64_t>(mapped_[i]) << (8 * i);
  if (length > header_limit) {
    return fail(errc::malformed, path_ + ": header of " + std::to_string(length) + " bytes, more than the limit of " +
                                     std::to_string(header_limit) + ": this is not a safetensors file");
  }
  if (length > size_ - 8) {
    return fail(errc::corrupt, path_ + ": header of " + std::to_string(length) + " bytes in a file of " +
                                   std::to_string(size_) + fetch_again);
  }
  data_at_ = 8 + length;
  const char* const text = reinterpret_cast<const char*>(mapped_) + 8;
  const json header = json::parse(text, text + length, nullptr, false);
  if (!header.is_object()) return fail(errc::malformed, path_ + ": header is not a JSON object" + fetch_again);
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    auto entry = read_entry(value);
    if (!entry) {
      return fail(errc::malformed, path_ + ": tensor " + name.substr(0, 200) +
                                       " has no proper dtype, shape and data_offsets" + fetch_again);
    }
    if (entry->begin > entry->end || entry->end > size_ - data_at_) {
      return fail(errc::corrupt, path_ + ": tensor " + name.substr(0, 200) + " at [" + std::to_string(entry->begin) +
                                     ", " + std::to_string(entry->end) + ") is not inside the " +
                                     std::to_string(size_ - data_at_) + " bytes of data" + fetch_again);
    }
    if (!length_fits(*entry)) {
      return fail(errc::corrupt, path_ + ": tensor " + name.substr(0, 200) + " has " +
                                     std::to_string(entry->end - entry->begin) +
                                     " bytes, which its dtype and shape do not make" + fetch_again);
    }
    tensors_.emplace(name, std::move(*entry));
  }
  return {};
}

status safetensors_file::check_cover() const {
  using item = std::pair<const std::string, tensor_entry>;
  std::vector<const item*> by_offset;
  for (const item& tensor : tensors_) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const item* a, const item* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::uint64_t covered = 0;
  for (const item* tensor : by_offset) {
    if (tensor->second.begin != covered) {
      return fail(errc::corrupt,
                  path_ + ": tensor " + tensor->first.substr(0, 200) +
                      (tensor->second.begin < covered ? " overlaps another" : " leaves a gap before it") + fetch_again);
    }
    covered = tensor->second.end;
  }
  if (covered != size_ - data_at_) {
    return fail(errc::corrupt, path_ + ": " + std::to_string(size_ - data_at_ - covered) +
                                   " bytes after the last tensor belong to none" + fetch_again);
  }
  return {};
}

result<std::span<const std::byte>> safetensors_file::bytes(const tensor_entry& entry) const {
  struct stat info {};
  if (::fstat(file_, &info) != 0 || static_cast<std::uint64_t>(info.st_size) < size_) {
    return fail(errc::corrupt, path_ + ": became shorter while in use" + fetch_again);
  }
  return std::span(mapped_ + data_at_ + entry.begin, entry.end - entry.begin);
}

}  // namespace ballast
