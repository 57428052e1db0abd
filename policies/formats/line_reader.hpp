// Lines of a text file, plain or gzip. Private to policies/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast::policies {

// One thread. Holds one line of at most `line_bytes_max`; a longer one is an error, not an allocation.
class line_reader {
 public:
  static constexpr std::size_t line_bytes_max = std::size_t{64} << 20;

  static result<line_reader> open(const std::string& path);

  // False at the end of the file, and where compressed data was cut off just behind a line: a process that was killed
  // leaves that. Errors: io; malformed (line too long, compressed data cut off within a line or damaged).
  result<bool> next(std::string& line);
  std::string where() const;  // "file:line" of the line last read

 private:
  struct closer {
    void operator()(void* file) const noexcept;
  };
  line_reader(std::string path, void* file);
  status fill();

  std::string path_;
  std::unique_ptr<void, closer> file_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::uint64_t line_ = 0;
  bool at_end_ = false;
  bool ends_a_line_ = false;  // what was read so far
};

}  // namespace ballast::policies
