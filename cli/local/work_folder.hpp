// A folder to work in: a named one, which is kept, or a temporary one, which is removed at the end.
#pragma once

#include <string>

#include "messages/result.hpp"

namespace ballast {

class work_folder {
 public:
  // An empty name: a fresh folder in /tmp that begins with `ballast-PURPOSE-`. Errors: io.
  static result<work_folder> open(const std::string& named, const std::string& purpose);
  work_folder(work_folder&& other) noexcept;
  work_folder& operator=(work_folder&&) = delete;
  ~work_folder();
  const std::string& path() const noexcept { return path_; }
  void keep() noexcept { keep_ = true; }

 private:
  work_folder(std::string path, bool keep);
  std::string path_;
  bool keep_;
};

}  // namespace ballast
