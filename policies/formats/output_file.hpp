// A file that is there whole or not at all.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace ballast::policies {

// Written under another name beside `path` and renamed by commit(); what was there before stays until then. Compressed
// where the name ends in .gz. Without commit nothing is left. One thread. Errors: io, with the path and the reason.
class output_file {
 public:
  static result<output_file> open(const std::string& path);
  output_file(output_file&&) noexcept;
  output_file& operator=(output_file&&) noexcept;
  ~output_file();

  status write(std::string_view text);
  status commit();

 private:
  struct impl;
  explicit output_file(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

status write_whole(const std::string& path, std::string_view text);

}  // namespace ballast::policies
