// Bytes of a file or of standard input, plain or gzip, with the line they stand in. Private to policies/formats/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <streambuf>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast::policies {

// One thread. Holds one buffer, however much comes. A reader sees the end of the file where reading fails: ask
// failure(). Compressed data that was cut off just behind a line ends there: a process that was killed leaves that.
class byte_source : public std::streambuf {
 public:
  static constexpr std::size_t text_bytes_max = 1 << 16, word_bytes_max = 1 << 10;  // of a JSON token

  // "-" is standard input. Errors: io.
  static result<std::unique_ptr<byte_source>> open(const std::string& path);
  byte_source(const byte_source&) = delete;
  byte_source& operator=(const byte_source&) = delete;
  ~byte_source() override;

  // From here on what comes is JSON: a string or word beyond the limits above ends it as a failure, so that no parser
  // gathers it up.
  void expect_json();
  int skip_space();                             // the next byte that is none, not taken; -1 at the end
  std::uint64_t line();                         // of the next byte, from 1
  std::string where(std::uint64_t line) const;  // "file:line"
  const std::optional<error>& failure() const noexcept { return failure_; }

 protected:
  int_type underflow() override;

 private:
  byte_source(std::string name, void* file);
  void fail_at_end();
  std::size_t bytes_to_long_token(const char* from, std::size_t count);

  std::string name_;
  void* file_;
  std::vector<char> buffer_;
  const char* counted_ = nullptr;  // lines up to it are in line_
  std::uint64_t line_ = 1;
  bool json_ = false, in_text_ = false, escaped_ = false, at_end_ = false, ends_a_line_ = false;
  std::size_t token_bytes_ = 0;
  std::optional<error> failure_;
};

}  // namespace ballast::policies
