#include "coordinator/load_recorder.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "policies/formats/load_writer.hpp"

namespace ballast {
namespace {

namespace fs = std::filesystem;

constexpr auto form = policies::file_format::ballast;

std::string path_of(const std::string& path, model_index model, std::string name) {
  if (model == 0) return path;
  for (auto& c : name)
    if (c == '/') c = '_';
  const auto file = path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/') + 1;
  const auto dot = path.find('.', file);
  const auto end = dot == std::string::npos ? path.size() : dot;
  return path.substr(0, end) + "-" + name + path.substr(end);
}

// PATH becomes PATH.1, that PATH.2 and so on; what would be the files-th is gone.
void put_aside(const std::string& path, std::uint32_t files) {
  std::error_code ignored;
  fs::remove(fmt::format("{}.{}", path, files - 1), ignored);
  for (std::uint32_t n = files - 1; n > 1; --n)
    fs::rename(fmt::format("{}.{}", path, n - 1), fmt::format("{}.{}", path, n), ignored);
  if (files > 1) fs::rename(path, path + ".1", ignored);
}

policies::load_meta meta_of(const cluster::recorded_interval& what) {
  policies::load_meta meta;
  meta.model = what.model.name;
  meta.fingerprint = what.model.fingerprint;
  meta.layers = what.model.layers;
  meta.experts = what.model.experts;
  meta.groups = what.model.groups;
  meta.redundant = what.redundant;
  meta.ranks = static_cast<std::uint32_t>(what.loads.received.size());
  meta.nodes = what.nodes;
  return meta;
}

policies::load_record record_of(const cluster::load_interval& l) {
  policies::load_record record;
  record.step = l.last;
  record.first_step = l.first;
  record.tokens = l.tokens;
  record.rank_load.resize(l.tokens.size());
  for (const auto& [seat, layers] : l.received) {
    record.seats.push_back(index_of(seat));
    for (std::size_t layer = 0; layer < layers.size(); ++layer) record.rank_load[layer].push_back(layers[layer]);
  }
  for (const auto& [seat, ms] : l.step_ms) record.step_ms.push_back(ms);
  return record;
}

status io_error(const std::string& path) {
  return fail(errc::io,
              fmt::format("{}: {}; loads are not recorded any more", path, std::strerror(errno != 0 ? errno : EIO)));
}

}  // namespace

class load_recorder::file {
 public:
  explicit file(std::string path) : path_(std::move(path)) {
    errno = 0;
    out_ = std::fopen(path_.c_str(), "wb");
    constexpr int gzip = 15 + 16, memory = 8;
    deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip, memory, Z_DEFAULT_STRATEGY);
  }
  file(const file&) = delete;
  file& operator=(const file&) = delete;
  ~file() {
    if (out_ != nullptr) {
      (void)write("", Z_FINISH);
      std::fclose(out_);
    }
    deflateEnd(&stream_);
  }

  // Ends at a byte that a reader gets everything up to.
  status write(const std::string& text, int flush = Z_SYNC_FLUSH) {
    if (out_ == nullptr) return io_error(path_);
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream_.avail_in = static_cast<uInt>(text.size());
    packed_.clear();
    do {
      std::array<Bytef, 1 << 14> piece;
      stream_.next_out = piece.data();
      stream_.avail_out = static_cast<uInt>(piece.size());
      deflate(&stream_, flush);
      packed_.insert(packed_.end(), piece.begin(), piece.end() - stream_.avail_out);
    } while (stream_.avail_out == 0);
    bytes_ += packed_.size();
    errno = 0;
    if (std::fwrite(packed_.data(), 1, packed_.size(), out_) != packed_.size() || std::fflush(out_) != 0)
      return io_error(path_);
    return {};
  }

  std::uint64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  std::FILE* out_ = nullptr;
  z_stream stream_{};
  std::vector<Bytef> packed_;
  std::uint64_t bytes_ = 0;
};

load_recorder::load_recorder(recorder_options options) : options_(std::move(options)) {}
load_recorder::load_recorder(load_recorder&&) noexcept = default;
load_recorder& load_recorder::operator=(load_recorder&&) noexcept = default;
load_recorder::~load_recorder() = default;

status load_recorder::append(const cluster::recorded_interval& what) {
  if (failed_) return {};
  auto& open = files_[what.loads.model];
  if (open && open->bytes() >= options_.file_bytes) open.reset();
  status written;
  if (!open) {
    const auto path = path_of(options_.path, what.loads.model, what.model.name);
    put_aside(path, options_.files);
    open = std::make_unique<file>(path);
    const auto meta = policies::meta_line(meta_of(what), form);
    written = meta ? open->write(*meta) : status(fail(meta.error()));
  }
  if (written) written = open->write(policies::stats_line(record_of(what.loads), form));
  failed_ = !written;
  return written;
}

bool recording_gate::admits(std::size_t waiting, std::string& line) {
  line.clear();
  if (waiting >= most) {
    if (left_out_++ == 0) line = "loads come faster than they can be recorded; some are left out of the recording";
    return false;
  }
  if (left_out_ != 0) line = fmt::format("{} records were left out of the recording", left_out_);
  left_out_ = 0;
  return true;
}

status check_recording(const std::string& path) {
  errno = 0;
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr)
    return fail(errc::io, fmt::format("record_stats = {}: {}; name a file in a folder that exists and can be written",
                                      path, std::strerror(errno != 0 ? errno : EIO)));
  std::fclose(file);
  std::error_code ignored;
  if (fs::file_size(path, ignored) == 0) fs::remove(path, ignored);
  return {};
}

}  // namespace ballast
