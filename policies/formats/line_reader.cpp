#include "policies/formats/line_reader.hpp"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace ballast::policies {

void line_reader::closer::operator()(void* file) const noexcept { gzclose_r(static_cast<gzFile>(file)); }

line_reader::line_reader(std::string path, void* file) : path_(std::move(path)), file_(file), buffer_(1 << 16) {}

result<line_reader> line_reader::open(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return fail(errc::io, path + ": is a directory; name the recorded file");
  }
  errno = 0;
  gzFile file = gzopen(path.c_str(), "rb");  // reads plain files as they are
  if (file == nullptr) return fail(errc::io, path + ": " + std::strerror(errno != 0 ? errno : ENOMEM));
  return line_reader(path, file);
}

std::string line_reader::where() const { return path_ + ":" + std::to_string(line_); }

status line_reader::fill() {
  auto* file = static_cast<gzFile>(file_.get());
  begin_ = 0;
  const int got = gzread(file, buffer_.data(), static_cast<unsigned>(buffer_.size()));
  end_ = got > 0 ? static_cast<std::size_t>(got) : 0;
  if (got > 0) {
    ends_a_line_ = buffer_[end_ - 1] == '\n';
    return {};
  }
  at_end_ = true;
  int code = Z_OK;
  const char* text = gzerror(file, &code);
  if (code == Z_OK || code == Z_STREAM_END) return {};
  if (code == Z_BUF_ERROR && ends_a_line_) return {};  // flushed there by a writer that was killed later
  if (code == Z_ERRNO) return fail(errc::io, path_ + ": " + std::strerror(errno));
  return fail(errc::malformed, where() + ": compressed data is damaged or cut off after this line (" + text + ")");
}

result<bool> line_reader::next(std::string& line) {
  line.clear();
  while (true) {
    if (begin_ == end_) {
      if (!at_end_) {
        if (auto ok = fill(); !ok) return fail(ok.error());
      }
      if (at_end_) {
        if (!line.empty()) ++line_;
        return !line.empty();
      }
    }
    const auto first = buffer_.begin() + static_cast<std::ptrdiff_t>(begin_);
    const auto last = buffer_.begin() + static_cast<std::ptrdiff_t>(end_);
    const auto newline = std::find(first, last, '\n');
    line.append(first, newline);
    begin_ = static_cast<std::size_t>(newline - buffer_.begin());
    if (line.size() > line_bytes_max) {
      ++line_;
      return fail(errc::malformed, where() + ": line is longer than 64 MiB; is this a recording of loads?");
    }
    if (newline != last) {
      ++begin_;
      ++line_;
      return true;
    }
  }
}

}  // namespace ballast::policies
