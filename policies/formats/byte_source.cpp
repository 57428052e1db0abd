#include "policies/formats/byte_source.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace ballast::policies {

namespace {

bool is_space(int c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

byte_source::byte_source(std::string name, void* file) : name_(std::move(name)), file_(file), buffer_(1 << 16) {
  setg(buffer_.data(), buffer_.data(), buffer_.data());
  counted_ = gptr();
}

byte_source::~byte_source() { gzclose_r(static_cast<gzFile>(file_)); }

result<std::unique_ptr<byte_source>> byte_source::open(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return fail(errc::io, path + ": is a directory; name the file in it");
  }
  const bool standard = path == "-";
  errno = 0;
  gzFile file = nullptr;  // zlib reads plain files as they are
  if (!standard) {
    file = gzopen(path.c_str(), "rb");
  } else if (const int copy = dup(STDIN_FILENO); copy >= 0) {
    file = gzdopen(copy, "rb");
    if (file == nullptr) ::close(copy);
  }
  const auto name = standard ? std::string("standard input") : path;
  if (file == nullptr) return fail(errc::io, name + ": " + std::strerror(errno != 0 ? errno : ENOMEM));
  return std::unique_ptr<byte_source>(new byte_source(name, file));
}

std::string byte_source::where(std::uint64_t line) const { return name_ + ":" + std::to_string(line); }

std::uint64_t byte_source::line() {
  line_ += static_cast<std::uint64_t>(std::count(counted_, static_cast<const char*>(gptr()), '\n'));
  counted_ = gptr();
  return line_;
}

int byte_source::skip_space() {
  int c = sgetc();
  while (c != traits_type::eof() && is_space(c)) c = snextc();
  return c == traits_type::eof() ? -1 : c;
}

// Bytes up to where a token has become too long; `count` if none has.
std::size_t byte_source::bytes_to_long_token(const char* from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const char c = from[i];
    ++token_bytes_;
    if (in_text_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_text_ = false;
        token_bytes_ = 0;
      }
    } else if (c == '"') {
      in_text_ = true;
      token_bytes_ = 0;
    } else if (is_space(c) || c == ',' || c == ':' || c == '[' || c == ']' || c == '{' || c == '}') {
      token_bytes_ = 0;
    }
    if (token_bytes_ > (in_text_ ? text_bytes_max : word_bytes_max)) return i;
  }
  return count;
}

void byte_source::expect_json() {
  if (json_) return;
  json_ = true;
  const auto left = static_cast<std::size_t>(egptr() - gptr());
  const auto good = bytes_to_long_token(gptr(), left);
  if (good == left) return;
  setg(eback(), gptr(), gptr() + good);
  at_end_ = true;
  failure_ = error{errc::malformed, where(line()) + ": not JSON (a word or string without end); name the right file"};
}

void byte_source::fail_at_end() {
  int code = Z_OK;
  const char* text = gzerror(static_cast<gzFile>(file_), &code);
  if (code == Z_OK || code == Z_STREAM_END) return;
  if (code == Z_BUF_ERROR && ends_a_line_) return;
  if (code == Z_ERRNO) {
    failure_ = error{errc::io, name_ + ": " + std::strerror(errno)};
    return;
  }
  failure_ = error{errc::malformed, where(line_) + ": compressed data is damaged or cut off in this line (" + text +
                                        "); take a whole copy of the file"};
}

byte_source::int_type byte_source::underflow() {
  if (gptr() < egptr()) return traits_type::to_int_type(*gptr());
  line();
  if (at_end_) return traits_type::eof();
  const int got = gzread(static_cast<gzFile>(file_), buffer_.data(), static_cast<unsigned>(buffer_.size()));
  auto count = got > 0 ? static_cast<std::size_t>(got) : std::size_t{0};
  if (count == 0) {
    at_end_ = true;
    fail_at_end();
    return traits_type::eof();
  }
  ends_a_line_ = buffer_[count - 1] == '\n';
  if (json_) {
    if (const auto good = bytes_to_long_token(buffer_.data(), count); good != count) {
      count = good;
      at_end_ = true;
      failure_ =
          error{errc::malformed, where(line_) + ": not JSON (a word or string without end); name the right file"};
    }
  }
  setg(buffer_.data(), buffer_.data(), buffer_.data() + count);
  counted_ = gptr();
  return count == 0 ? traits_type::eof() : traits_type::to_int_type(*gptr());
}

}  // namespace ballast::policies
